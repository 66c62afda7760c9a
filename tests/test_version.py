from __future__ import annotations

import platform

import numpy
import optuna
import scipy

from mdm_tune.version import __version__, package_versions


def test_versions_are_those_that_the_packages_say_themselves() -> None:
    found = package_versions("numpy", "no-such-package-as-this")
    assert found["mdm-tune"] == __version__ and found["python"] == platform.python_version()
    assert (found["numpy"], found["scipy"], found["optuna"]) == (
        numpy.__version__,
        scipy.__version__,
        optuna.__version__,
    )
    assert found["no-such-package-as-this"] == "none"
