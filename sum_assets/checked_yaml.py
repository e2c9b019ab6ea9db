"""Reads a YAML file into a pydantic model, with errors that name the line of what is wrong."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sum_assets.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def read_checked(path: Path, model: type[Model], what: str) -> tuple[Model, yaml.Node | None]:
    """Return the model and the tree it was read from. `what` names the file's kind in errors, which are UserErrors."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The {what} file {path} cannot be read: {error}") from error
    return parse_checked(text, str(path), model, what)


def parse_checked(text: str, name: str, model: type[Model], what: str) -> tuple[Model, yaml.Node | None]:
    """Do with a text what `read_checked` does with a file. `name` is what errors call it."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        return model.model_validate(yaml.safe_load(text) or {}), tree
    except yaml.YAMLError as error:
        raise UserError(f"The {what} file {name} is not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or what
        raise UserError(f"{name}, line {line_of(tree, first['loc'])}: {place}: {first['msg']}") from error


def line_of(node: yaml.Node | None, place: tuple[int | str, ...]) -> int:
    """Return the line, from 1, of the deepest part of the tree that leads to a place."""
    line = 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
