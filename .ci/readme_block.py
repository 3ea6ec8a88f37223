"""Print the n-th `sh` block of the README's Quick start, so that what is tested is what people copy."""

import re
import sys
from pathlib import Path

readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
section = readme.split("## Quick start", 1)[1].split("\n## ", 1)[0]
blocks = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
if len(blocks) != 2:
    sys.exit(f"README.md: the Quick start must have exactly two sh blocks, it has {len(blocks)}")
print(blocks[int(sys.argv[1]) - 1])
