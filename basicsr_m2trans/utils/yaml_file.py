"""A file of options with the places of its keys, and the report of all that is wrong with it."""

import ast
import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from basicsr_m2trans.utils.errors import InputError, Problem, reported

# Of the key `<<`, which stands for the keys of another section.
MERGE_TAG = "tag:yaml.org,2002:merge"
# Where files of each kind lie that can be copied.
EXAMPLES = {"option file": "options/", "plan": "plans/", "file": "options/ or plans/"}


@dataclass(frozen=True)
class Changes:
    """Sections and keys to be merged into an option file, and the place where each is given."""

    values: dict[str, Any]
    places: dict[tuple[str, ...], str] = field(default_factory=dict, compare=False)


@dataclass
class OptionFile:
    """The options that a file and arguments of the command line give together."""

    path: Path
    opt: dict[str, Any]  # what is in the file, with the values of the arguments in place
    # Where each key is given: file and line, or the argument.
    places: dict[tuple[str, ...], str] = field(default_factory=dict)
    # What is wrong with the file's form and the arguments.
    problems: list[Problem] = field(default_factory=list)
    kind: str = "option file"  # what messages call the file; one of `EXAMPLES`

    @classmethod
    def read(
        cls, path: str | Path, overrides: Sequence[str] = (), kind: str = "option file"
    ) -> "OptionFile":
        """Read a file and set the values that `--force_yml` gives by entries `key:key=value`.

        Raises:
            InputError: the file cannot be read, holds no options, or has a section that holds
                itself.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            loader = yaml.SafeLoader(text)
            tree = loader.get_single_node()
            # Constructing merges the keys of `<<` into the nodes, whose places are noted later.
            opt = None if tree is None else loader.construct_document(copy.deepcopy(tree))
        except OSError as error:
            text = f"cannot be read: {error.strerror}; give the path of a yml file"
            raise InputError(f"{kind} {path} {text}") from error
        except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
            raise InputError(
                f"{kind} {path} is not a text file; give the path of a yml file, saved as UTF-8 "
                f"and without control characters: {error}"
            ) from error
        # Values that do not fit their tag, such as `!!float x`, raise errors of Python.
        except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:
            text = f"is not valid YAML; correct it at the place named: {error}"
            raise InputError(f"{kind} {path} {text}") from error
        if not isinstance(opt, dict) or tree is None:
            text = f"holds no options; start from one of the files in {EXAMPLES[kind]}"
            raise InputError(f"{kind} {path} {text}")
        file = cls(Path(path), opt, kind=kind)
        file._note_places(tree, (), ())
        for entry in overrides:
            file._force(entry)
        return file

    def report(self, problems: Sequence[Problem]) -> str:
        """One text with every problem, its place and its remedy."""
        return reported(f"{self.kind} {self.path} has", self.placed(problems))

    def placed(self, problems: Sequence[Problem]) -> list[Problem]:
        """Problems with their places, in the order of the file; the arguments come first."""
        placed = [
            replace(each, place=each.place or self.place(each.key) or f"{self.path}:1")
            for each in problems
        ]
        order = {place: number for number, place in reversed(list(enumerate(self.places.values())))}
        return sorted(placed, key=lambda problem: order.get(problem.place, -1))

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Raise an `InputError` with the report of the problems, if there are any."""
        if problems:
            raise InputError(self.report(problems), problems)

    def put(self, key: tuple[str, ...], value: Any, place: str) -> None:
        """Set the value of a key, given at `place`, in an existing section."""
        section = self.opt
        for name in key[:-1]:
            section = section[name]
        section[key[-1]] = value
        kept = {each: where for each, where in self.places.items() if each[: len(key)] != key}
        self.places = kept | {key: place}

    def override(self, key: str, value: str, place: str, read: Callable[[str], Any]) -> None:
        """Set the value that an argument of the command line gives.

        Args:
            key: its path in the form `key:key`.
            value: its text, from which `read` makes what it is to BasicSR for `--force_yml`, where
                `-1` is a text and `none` is empty (`forced_value`), and YAML for `--set`.
            place: the argument, as the user has written it.

        Raises:
            LookupError: there is no such section; its one argument is the name that is missing.
            ValueError: the text cannot be read.
        """
        *parents, last = key.split(":")
        section: Any = self.opt
        for parent in parents:
            section = section.get(parent)
            if not isinstance(section, dict):
                raise LookupError(parent)
        try:
            self.put((*parents, last), read(value), place)
        except (yaml.YAMLError, KeyError, AttributeError) as error:  # as where a file is read
            raise ValueError(value) from error

    def merge(self, changes: Changes, key: tuple[str, ...] = ()) -> None:
        """Put changes, or those below a section, over the file's values.

        A section goes into the one of its name key by key; only if it names another `type`, to
        which the old keys mean nothing, it replaces that one as a whole. All other values replace
        what was there, `~` too.
        """
        for name, value in _value(changes.values, key).items():
            path, place = (*key, name), _nearest(changes.places, (*key, name))
            old = self.value(*path)
            sections = isinstance(value, dict) and isinstance(old, dict)
            if sections and value.get("type") in (None, old.get("type")):
                # What a class or another key refuses in a section is reported at its place.
                self.places[path] = place
                self.merge(changes, path)
            else:
                self.put(path, copy.deepcopy(value), place)
                below = changes.places.items()
                self.places |= {each: at for each, at in below if each[: len(path)] == path}

    def value(self, *key: str) -> Any:
        """The value of a key; None where there is none."""
        return _value(self.opt, key)

    def part(self, *key: str) -> Changes:
        """A section of the file, empty where there is none, as changes to another file."""
        size = len(key)
        places = {each[size:]: place for each, place in self.places.items() if each[:size] == key}
        return Changes(self.value(*key) or {}, places)

    def place(self, key: tuple[str, ...]) -> str:
        """Where a key is given, or the nearest section around it; empty if nowhere."""
        return _nearest(self.places, key)

    def _note_places(
        self, node: yaml.Node, key: tuple[str, ...], above: tuple[yaml.Node, ...]
    ) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        if node in above:
            text = f"{': '.join(key)} is an alias of a section around it; write it out"
            raise InputError(f"{self.kind} {self.path}: {text}")
        for key_node, value in node.value:
            path = (*key, _key_name(key_node))
            place = f"{self.path}:{key_node.start_mark.line + 1}"
            if path in self.places:
                text = f"is there already at {self.places[path]}; YAML silently takes the last one"
                self.problems.append(Problem(path, text, "remove one of them", place))
            self.places[path] = place
            self._note_places(value, path, (*above, node))

    def _force(self, entry: str) -> None:
        if entry.count("=") != 1:
            text, remedy = "is not an option", "write it as key:key=value, with one equals sign"
        else:
            key, value = (part.strip() for part in entry.split("="))
            try:
                self.override(key, value, f"--force_yml {entry}", forced_value)
                return
            except LookupError as error:
                text = f"the option file has no section {error.args[0]!r}"
                remedy = "name a section of the file"
            except ValueError:
                text = f"the value {value!r} cannot be read"
                remedy = "put all of KEY=VALUE in quotes"
        self.problems.append(Problem((), text, remedy, f"--force_yml {entry}"))


def _value(section: Any, key: tuple[str, ...]) -> Any:
    for name in key:
        section = section.get(name) if isinstance(section, dict) else None
    return section


def _nearest(places: Mapping[tuple[str, ...], str], key: tuple[str, ...]) -> str:
    """The place of a key, or that of the nearest section around it that has one."""
    return next(
        (places[key[:length]] for length in range(len(key), -1, -1) if key[:length] in places), ""
    )


def _key_name(node: yaml.Node) -> str:
    """The name of a key as the checks write it: `yes` is True to YAML."""
    if node.tag == MERGE_TAG:
        return node.value
    return str(yaml.constructor.SafeConstructor().construct_object(node))


def forced_value(value: str) -> Any:
    """The value that BasicSR's `parse_options` makes of a text, without executing it."""
    if value == "~" or value.lower() == "none":
        return None
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value.isdigit():
        return int(value)
    if value.count(".") == 1 and value.replace(".", "").isdigit():
        return float(value)
    if value.startswith("!!float"):
        return float(value.removeprefix("!!float"))
    if value.startswith("["):
        with contextlib.suppress(ValueError, SyntaxError):
            return ast.literal_eval(value)
        return yaml.safe_load(value)  # texts without quotes
    return value


def without(
    opt: dict[str, Any], keys: set[tuple[str, ...]], key: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A copy of `opt`, the section at `key`, that lacks some keys, given by their paths."""
    return {
        name: without(value, keys, (*key, str(name))) if isinstance(value, dict) else value
        for name, value in opt.items()
        if (*key, str(name)) not in keys
    }


def leaves(opt: dict[str, Any], key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths and values of all keys of `opt`, the section at `key`, that hold no section."""
    for name, value in opt.items():
        path = (*key, name)
        yield from leaves(value, path) if isinstance(value, dict) else [(path, value)]
