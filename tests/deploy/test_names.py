import re
from pathlib import Path

import pytest

from web.variables import PREFIX, VARIABLES

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.relative_to(ROOT)
    for path in (
        ROOT / "Procfile",
        *(ROOT / "deploy").iterdir(),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "README.md",
    )
)
# Stands for any name.
_EXAMPLE = "NAME"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    named = set(re.findall(rf"{PREFIX}([A-Z0-9_]*[A-Z0-9])", text)) - {_EXAMPLE}
    assert named <= {variable.name for variable in VARIABLES}
