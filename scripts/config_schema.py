"""Write the JSON schema of the YAML file of a run to the package. A test says when the file is no longer that of the
models."""

from __future__ import annotations

from mdm_tune.config.schema import schema_path, schema_text
from mdm_tune.core.files import write_text

if __name__ == "__main__":
    print(write_text(schema_path(), schema_text()))
