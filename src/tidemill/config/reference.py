"""Writes the reference page of the settings from their declarations: `python -m tidemill.config.reference`."""

import sys
from itertools import groupby

from tidemill.config.leaves import Leaf, leaves
from tidemill.config.sizes import format_size

_INTRODUCTION = """# Settings

Every setting is a flag of `tidemill serve`, an environment variable and a key in `tidemill.toml`. A flag overrides the
variable, the variable overrides the file, the file overrides the default. The file is the one given with `--config` or
`TIDEMILL_CONFIG`, else `tidemill.toml` in the working directory. Unknown keys and variables are errors.

A setting that takes a list is a flag that may be repeated, and a variable with commas. Sizes are written as `2GiB`,
`512MiB`, or a number of bytes.

```toml
[server]
port = 8080

[cache]
kv_cache_memory = "2GiB"
```

This page is generated from the declarations (`python -m tidemill.config.reference`).
"""


def reference_page() -> str:
    """The whole page, as Markdown."""
    parts = [_INTRODUCTION]
    for (section, title), rows in groupby(leaves(), key=lambda leaf: (leaf.section, leaf.section_title)):
        parts.append(f"\n## [{section}]\n\n{title}.\n\n| Key | Flag | Variable | Value | Default |")
        parts.append("\n|---|---|---|---|---|\n")
        described = list(rows)
        parts.extend(_row(leaf) for leaf in described)
        parts.append("\n" + "\n".join(f"- `{leaf.name}`: {leaf.description}" for leaf in described) + "\n")
    return "".join(parts)


def _row(leaf: Leaf) -> str:
    flag = f"`{leaf.flag}`" if leaf.kind != "switch" else f"`{leaf.flag}` / `--no-{leaf.flag[2:]}`"
    return f"| `{leaf.name}` | {flag} | `{leaf.variable}` | {_value(leaf)} | {shown_default(leaf)} |\n"


def _value(leaf: Leaf) -> str:
    kinds = {"text": "text", "whole": "whole number", "number": "number", "switch": "true or false", "size": "size"}
    if leaf.choices:
        return ", ".join(f"`{choice}`" for choice in leaf.choices)
    kind = "list of names" if leaf.kind == "names" else kinds[leaf.kind]
    return f"{kind}, {leaf.bounds}" if leaf.bounds else kind


def shown_default(leaf: Leaf) -> str:
    """The default as a reader would write it; a dash where there is none."""
    if leaf.default is None or leaf.default == ():
        return "-"
    if leaf.kind == "switch":
        return "true" if leaf.default else "false"
    if leaf.kind == "size":
        return format_size(leaf.default)
    return f"`{leaf.default}`"


if __name__ == "__main__":
    sys.stdout.write(reference_page())
