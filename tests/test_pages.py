"""What the pages in docs/ say is tried: the spaces on them are read."""

import re
from pathlib import Path

import pytest

from hopsearch.core.yaml_reader import read_yaml
from hopsearch.space.schema import read_parts

DOCS = Path(__file__).parents[1] / "docs"
BLOCKS = re.findall(
    r"```yaml\n(.*?)```", (DOCS / "space-files.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_spaces_on_the_page_are_spaces(block, tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(block, encoding="utf-8")
    assert read_parts(read_yaml(file, "docs").data, "docs").parameters
