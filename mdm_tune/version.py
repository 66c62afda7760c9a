"""The version, in one place: the build reads it from here, and so does every run."""

from __future__ import annotations

__all__ = ["__version__", "package_versions"]

__version__ = "0.1.0"


def package_versions(*more: str) -> dict[str, str]:
    """Versions of everything that a number can depend on, by name; more: packages besides, ``none`` where missing."""
    import platform

    libraries = {name: _version(name) for name in ("torch", "optuna", "numpy", "scipy", *more)}
    return {"mdm-tune": __version__, "python": platform.python_version(), **libraries}


def _version(name: str) -> str:
    from importlib import metadata  # it is slow to import, and reading a schedule does not need it

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
