"""Plain sentences out of what Mitsuba's scene parser and plugins, and pydantic, have to say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .errors import suggestion


def explain(message: str, where: str, plugins: Iterable[str]) -> str:
    """One sentence: where (with the line, if the message knows it) and what is wrong.

    Args:
        message: What Mitsuba raised.
        where: The file, or what else was being loaded.
        plugins: Names that could have been meant by an unknown one.

    Example:
        >>> explain('At a.xml (line 2, col 4): … Plugin "pth" not found!', "a.xml", ["path"])
        "a.xml, line 2: there is no plugin 'pth'; did you mean 'path'?"
    """
    message = re.sub(r"\[[\w.]+\.(cpp|h):\d+\] ?", "", message).strip()
    # What went wrong in an included file comes after the place where it is included
    message = message.rsplit("while processing <include>:", 1)[-1].strip()
    if place := re.search(
        r'(?:^At|[Ww]hile loading|XML file) "?([^\n]+?)"?(?: failed: .*)? \(line (\d+), col \d+\)', message
    ):
        where = f"{place[1]}, line {place[2]}"
    return f"{where}: {_reason(message, plugins)}"


def _reason(message: str, plugins: Iterable[str]) -> str:
    """What is wrong, without the place."""
    if m := re.search(r"Parsing of XML file .* failed: (.*) \(line", message):
        return f"malformed XML: {m[1]}"
    if m := re.search(r'Plugin "([^"]*)" not found', message):
        return f"there is no plugin '{m[1]}'{suggestion(m[1], plugins)}"
    if m := re.search(r'unreferenced propert\w+ in (\w+) plugin of type "([^"]*)":\s*- \w+ "([^"]*)"', message):
        kind = "plugin" if m[1] == "unknown" else m[1]
        return f"the {kind} '{m[2]}' has no property '{m[3]}'"
    if m := re.search(r'failed to instantiate (\w+) plugin of type "([^"]*)": (.*)', message, flags=re.S):
        kind = "plugin" if m[1] == "unknown" else m[1]
        return f"the {kind} '{m[2]}' cannot be loaded: {first_sentence(m[3])}"
    message = re.sub(r"^(Error )?[Ww]hile loading .*?\(line \d+, col \d+\): ", "", message)
    return first_sentence(message)


def first_sentence(text: str) -> str:
    """The first sentence of a message, without traceback and without the name of the class that raised it.

    Example:
        >>> first_sentence("[OBJMesh] Error while loading: file not found. Giving up.")
        'Error while loading: file not found'
    """
    if text.startswith("Traceback"):
        text = re.sub(r"^[\w.]*(Error|Exception|Warning): ", "", text.strip().splitlines()[-1])
    text = re.sub(r"\[[A-Z]\w+\] ", "", text)
    return re.split(r"\. |\n", text, maxsplit=1)[0].rstrip(". ")


#: What pydantic calls the types of TOML
_TYPES = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dictionary": "a table",
}


def requirement(problem: Mapping) -> str:
    """What a value must be, out of a problem that pydantic found with it.

    Example:
        >>> requirement({"msg": "Input should be a valid integer, got a number with a fractional part"})
        'must be a whole number'
    """
    text = re.sub(r"^(Input|List|Tuple|Dictionary|String) should ", "must ", problem["msg"])
    text = re.sub(r"a valid (\w+)\b.*", lambda found: _TYPES.get(found[1], found[0]), text)
    return text.split(" after validation")[0]


def plugin_names(mitsuba_folder: Path) -> list[str]:
    """The compiled plugins in Mitsuba's package folder, whatever their kind."""
    files = (mitsuba_folder / "plugins").iterdir()
    return sorted({file.name.split(".")[0] for file in files if file.suffix in {".so", ".dll", ".dylib"}})
