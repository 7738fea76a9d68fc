"""What may leave this machine: values and sentences in which its paths are names."""

import re
from typing import Any

from lagsearch.storage.files import is_path, path_of

_FOLDERS = re.compile(
    r"""(?P<quote>['"])(?:file://)?~?/(?:[^'"]*/)?(?P<name>[^'"/]+)/*(?P=quote)"""
    r"""|(?<![\w./~}-])(?:file://)?~?/(?=[^/\s'"])(?:[^/\s'"]+/)*"""
)
"""Absolute paths: whole ones in quotes, or all before the last part."""

_FILES = ("files", "include_path")
_NAMED = ("checkpoint", "tokenizer", "hub")
"""Keys of a space that hold paths, and those that hold paths or names of the hub."""


def sentence_without_paths(text: str) -> str:
    """Return a text with the last part of each absolute path in its place."""

    def last(found: re.Match[str]) -> str:
        return f"{found['quote']}{found['name']}{found['quote']}" if found["quote"] else ""

    return _FOLDERS.sub(last, text)


def values_without_paths(value: Any, key: str = "") -> Any:
    """Return plain values of a space in which paths are names.

    Args:
        value: The values.
        key: The key they stand under.
    """
    if isinstance(value, dict):
        return {each: values_without_paths(inner, each) for each, inner in value.items()}
    if isinstance(value, list):
        return [values_without_paths(each, key) for each in value]
    if not isinstance(value, str):
        return value
    if key in _FILES or (key in _NAMED and is_path(value)):
        return path_of(value).absolute().name
    return sentence_without_paths(value) if "/" in value else value
