"""An option file with the places of its keys, and the report of all that is wrong with it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from basicsr_m2trans.errors import InputError
from basicsr_m2trans.option_schema.values import Problem, grouped

MERGE_TAG = "tag:yaml.org,2002:merge"  # of the key `<<`, which stands for the keys of another section


@dataclass
class OptionFile:
    """The options that a file and `--force_yml` give together.

    Args:
        path: the file.
        opt: what is in it, with the forced values in place.
        places: where each key is given: file and line, or the argument.
        problems: what is wrong with the file's form and the arguments.
    """

    path: Path
    opt: dict[str, Any]
    places: dict[tuple[str, ...], str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> "OptionFile":
        """Read a file and set the values that `--force_yml` gives.

        Args:
            path: the yml file.
            overrides: entries of the form `key:key=value`, whose values mean what they mean to BasicSR.

        Raises:
            InputError: the file cannot be read, holds no options, or has a section that holds itself.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            opt, tree = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
        except OSError as error:
            reason = error.strerror
            raise InputError(f"option file {path} cannot be read: {reason}; give the path of a yml file") from error
        # Values that do not fit their tag, such as `!!float x`, raise errors of Python.
        except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"option file {path} is not valid YAML; mend it at the named place: {error}") from error
        if not isinstance(opt, dict) or tree is None:
            raise InputError(f"option file {path} holds no options; start from one of the files in options/")
        file = cls(Path(path), opt)
        file._note_places(tree, (), ())
        for entry in overrides:
            file._override(entry)
        return file

    def report(self, problems: Sequence[Problem]) -> str:
        """One text with every problem, its place and its remedy, in the order of the file; the arguments come first."""
        placed = [replace(problem, place=problem.place or self._place(problem.key)) for problem in problems]
        order = {place: number for number, place in enumerate(self.places.values())}
        placed.sort(key=lambda problem: order.get(problem.place, -1))
        count = f"{len(placed)} problems" if len(placed) > 1 else "1 problem"
        return "\n".join([f"option file {self.path} has {count}", *grouped(placed)])

    def _place(self, key: tuple[str, ...]) -> str:
        """The key's place, or that of the nearest section around it."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.places:
                return self.places[key[:length]]
        return f"{self.path}:1"

    def _note_places(self, node: yaml.Node, key: tuple[str, ...], above: tuple[yaml.Node, ...]) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        if node in above:
            section = ": ".join(key)
            raise InputError(f"option file {self.path}: {section} is an alias of a section around it; write it out")
        for key_node, value in node.value:
            path = (*key, _key_name(key_node))
            place = f"{self.path}:{key_node.start_mark.line + 1}"
            if path in self.places:
                text = f"is there already at {self.places[path]}; YAML takes the last one without a word"
                self.problems.append(Problem(path, text, "remove one of them", place))
            self.places[path] = place
            self._note_places(value, path, (*above, node))

    def _override(self, entry: str) -> None:
        place = f"--force_yml {entry}"
        if entry.count("=") != 1:
            self.problems.append(Problem((), "is no option", "write it as key:key=value, with one equals sign", place))
            return
        keys, value = (part.strip() for part in entry.split("="))
        *parents, last = keys.split(":")
        section: Any = self.opt
        for parent in parents:
            section = section.get(parent)
            if not isinstance(section, dict):
                text = f"the option file has no section {parent!r}"
                self.problems.append(Problem((), text, "name a section of the file", place))
                return
        try:
            section[last] = _forced_value(value)
        except (yaml.YAMLError, ValueError):
            text = f"the value {value!r} cannot be read"
            self.problems.append(Problem((), text, "put all of KEY=VALUE in quotes", place))
            return
        path = (*parents, last)
        self.places = {each: where for each, where in self.places.items() if each[: len(path)] != path}
        self.places[path] = place


def _key_name(node: yaml.Node) -> str:
    """The name of a key as the checks write it: `yes` is True to YAML."""
    if node.tag == MERGE_TAG:
        return node.value
    return str(yaml.constructor.SafeConstructor().construct_object(node))


def _forced_value(value: str) -> Any:
    """The value that BasicSR's `parse_options` makes of a text, without executing it."""
    if value == "~" or value.lower() == "none":
        return None
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value.isdigit():
        return int(value)
    if value.count(".") == 1 and value.replace(".", "").isdigit():
        return float(value)
    return yaml.safe_load(value) if value.startswith(("[", "!!float")) else value


def without(opt: dict[str, Any], keys: set[tuple[str, ...]], key: tuple[str, ...] = ()) -> dict[str, Any]:
    """A copy of `opt` that lacks some keys, given by their paths."""
    return dict(_remaining(opt, keys, key))


def _remaining(opt: dict[str, Any], keys: set[tuple[str, ...]], key: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    for name, value in opt.items():
        path = (*key, str(name))
        if path not in keys:
            yield name, without(value, keys, path) if isinstance(value, dict) else value
