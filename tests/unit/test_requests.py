"""Commands made from configurations: every field an option, once; files, flags, help."""

from __future__ import annotations

import dataclasses
import re
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from edgecd.bench.config import BenchConfig
from edgecd.cli import app
from edgecd.cli.asked import Asked
from edgecd.cli.requests import fields_of, make_command
from edgecd.config import check_options, flag, like, load_config, option, option_of, to_toml
from edgecd.contexts.config import (
    AttentionConfig,
    CompressConfig,
    MendConfig,
    MetaTestConfig,
    PromptTuningConfig,
)
from edgecd.errors import InputError
from edgecd.export.config import ExportConfig
from edgecd.runtime.config import PredictConfig
from edgecd.sweep.config import SweepConfig
from edgecd.training.config import TrainConfig

COMMANDS: dict[str, tuple[type[Any], ...]] = {
    "train": (TrainConfig, MendConfig, PromptTuningConfig),
    "compress": (CompressConfig,),
    "export": (ExportConfig,),
    "bench": (BenchConfig,),
    "sweep": (SweepConfig,),
    "meta-test": (MetaTestConfig,),
    "predict": (PredictConfig,),
    "inspect": (AttentionConfig,),
}
OUT = ("--out", "out")
WITHOUT_OPTIONS = {"verify", "demo", "tasks", "doctor"}


@dataclass(frozen=True)
class Toy:
    """One field of each kind."""

    name: str = option(help="A name.", group="First")
    size: int = option(3, help="A size.", group="First", low=1)
    share: float = option(0.5, help="A share.", low=0, high=1)
    kind: str = option("small", help="A kind.", choices=("small", "large"))
    is_sure: bool = option(False, help="Sure.")
    is_once: bool = option(False, help="Once.", flags=("--once",))
    seeds: tuple[int, ...] = option((1, 2), help="Numbers.", group="Lists")
    words: tuple[str, ...] = option((), help="Words.", group="Lists")
    files: tuple[Path, ...] = option((), help="Files.", group="Lists")
    pair: tuple[Path, Path] | None = option(None, help="Two files.", group="Lists")
    place: Path | None = option(None, help="A file.", group="Lists")
    bits: str | None = option(
        None,
        help="Bits.",
        choices=("eight", "sixteen"),
        flags={"--eight": "Eight bits.", "--sixteen": "Sixteen bits."},
    )

    def __post_init__(self) -> None:
        check_options(self)


def run(work: Any, kinds: tuple[type[Any], ...], *arguments: object) -> None:
    """The function as a command of these kinds, given the arguments; raises what it raises."""
    own = typer.Typer()
    own.command()(make_command(work, kinds))
    result = CliRunner().invoke(own, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output


def invoke(kinds: tuple[type[Any], ...], *arguments: object) -> Any:
    """What a command of these kinds is asked, given the arguments."""
    asked: list[Any] = []

    def work(
        request: Any,
        things: Annotated[list[Path] | None, typer.Argument()] = None,
        loud: Annotated[bool, typer.Option("--loud")] = False,
    ) -> None:
        """Work."""
        asked.extend((request, things, loud))

    run(work, kinds, *arguments)
    return asked


def helped(*command: str) -> Result:
    wide = {"COLUMNS": "240", "TERMINAL_WIDTH": "240", "NO_COLOR": "1"}
    return CliRunner().invoke(app, [*command, "--help"], env=wide)


def panels(text: str) -> dict[str, list[str]]:
    """Heading -> the options under it, once for each time that they begin a line there."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if title := re.match(r"╭─ (.+?) ─+╮", line):
            heading = title[1]
        elif name := re.match(r"│ (?:\* )?\s*(--[a-z0-9-]+)", line):
            found.setdefault(heading, []).append(name[1])
    return found


def a_value(hint: Any, said: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of this type and these limits allows."""
    inner = typing.get_args(hint)
    if type(None) in inner:
        return st.none() | a_value(next(one for one in inner if one is not type(None)), said)
    if inner and inner[-1] is Ellipsis:
        return st.lists(a_value(inner[0], said), max_size=3).map(tuple)
    if inner:
        return st.tuples(*(a_value(one, said) for one in inner))
    if said.choices:
        return st.sampled_from(list(said.choices))
    if hint is bool:
        return st.booleans()
    if hint is Path:
        return st.text("abcdef", min_size=1, max_size=9).map(Path)
    if hint is int:
        low, high = (None if one is None else int(one) for one in (said.low, said.high))
        return st.integers(low, high) if high else st.integers(low, 2**40)
    if hint is float:
        return st.floats(said.low, said.high, allow_nan=False, allow_infinity=False)
    return st.text(min_size=1)


@pytest.mark.parametrize("kind", [Toy, *(kind for kinds in COMMANDS.values() for kind in kinds)])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_any_configuration_reads_back_equal(
    kind: type[Any], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    hints = typing.get_type_hints(kind)
    values = {
        field.name: data.draw(a_value(hints[field.name], option_of(field)), label=field.name)
        for field in dataclasses.fields(kind)
    }
    try:
        config = kind(**values)
    except InputError:
        assume(False)
    file = tmp_path_factory.mktemp("config") / "any.toml"
    file.write_text(to_toml(config), encoding="utf-8")
    for value in values.values():  # "." is a path that is there, which is resolved
        assume(not isinstance(value, str) or not exists(file.parent / value))
    assert load_config(file, {}, kind) == config


def exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_is_an_option_once_and_in_its_group(command: str) -> None:
    shown = panels(helped(command).output)
    for field in fields_of(COMMANDS[command]):
        for name in field.said.flags or (flag(field.name),):
            places = [group for group, names in shown.items() for one in names if one == name]
            assert places == [field.said.group], name


def test_train_is_grouped_by_subject() -> None:
    groups = ["Options", "Task and models", "Method", "Training", "Contexts", "Machine"]
    assert list(panels(helped("train").output)) == groups


def test_help_shows_defaults_and_those_that_differ_by_method() -> None:
    text = helped("train").output
    assert re.search(r"--alpha .*\[default: 0.8\]", text)
    assert re.search(r"--seed .*\[default: \(0; mend: 100\)\]", text)
    assert re.search(r"--calibrate +--no-calibrate .*\[default: calibrate\]", text)
    assert re.search(r"--device +auto\|cpu\|cuda", text)


def test_a_field_that_two_kinds_have_is_one_thing() -> None:
    @dataclass(frozen=True)
    class Other:
        method: str = like(TrainConfig, "method", "other", choices=("other",))
        alpha: float = option(1.0, help="Something else.")

    with pytest.raises(AssertionError, match="alpha is one thing in Other and another before"):
        fields_of((TrainConfig, Other))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_reads_a_file_and_suggests_the_nearest_option(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = fields_of(COMMANDS[command])[0].name
    file = tmp_path / "asked.toml"
    file.write_text(f'{name}x = "a"\n')
    arguments = {"predict": ["B"], "inspect": ["B"], "train": [*OUT], "compress": [*OUT]}
    own = arguments.get(command, ["R", *OUT])
    result = CliRunner().invoke(app, [command, *own, "--config", str(file)])
    assert isinstance(result.exception, InputError)
    said = f"{file}: unknown key '{name}x'; did you mean '{name}'?"
    assert str(result.exception) == said


def test_commands_without_options_alone_read_no_file() -> None:
    every = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    without = {name for name in every if "--config" not in helped(name).output}
    assert without == WITHOUT_OPTIONS


@pytest.mark.parametrize(
    ("method", "name", "there", "given"),
    [
        ("cd", "shots", 4, 8),
        ("cd", "calibrate", False, True),
        ("mend", "steps", 7, 9),
        ("prompt-tuning", "lr", 0.5, 0.25),
    ],
)
def test_a_flag_beats_the_file_and_the_file_the_default(
    method: str, name: str, there: Any, given: Any, tmp_path: Path
) -> None:
    file = tmp_path / "asked.toml"
    needed = 'partition = "p"\ncorpus = "c"\n' if method == "mend" else ""
    file.write_text(f'method = "{method}"\n{needed}{name} = {str(there).lower()}\n')
    on = [flag(name)] if given is True else [flag(name), given]
    kinds = COMMANDS["train"]
    assert getattr(invoke(kinds, "--config", file)[0], name) == there
    assert getattr(invoke(kinds, "--config", file, *on)[0], name) == given
    assert invoke(kinds, "--config", file)[0].method == method


def test_a_flag_that_repeats_a_default_is_given(tmp_path: Path) -> None:
    file = tmp_path / "asked.toml"
    file.write_text("shots = 4\n")
    assert invoke((TrainConfig,), "--config", file, "--shots", 16)[0].shots == 16


def test_values_of_every_type_come_from_flags_and_files(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("")
    file = tmp_path / "asked.toml"
    file.write_text(
        'name = "n"\nseeds = [7]\nwords = ["x, y"]\nfiles = ["here", "there"]\nshare = 1\n'
        'pair = ["here", "b"]\nplace = "here"\nis_once = true\nbits = "eight"\n'
    )
    read, things, loud = invoke((Toy,), "--config", file)
    assert read == Toy(
        name="n",
        seeds=(7,),
        words=("x, y",),
        files=(tmp_path / "here", Path("there")),
        share=1.0,
        pair=(tmp_path / "here", Path("b")),
        place=tmp_path / "here",
        is_once=True,
        bits="eight",
    )
    assert (things, loud) == (None, False)
    flags = (
        *("--name", "m", "--seeds", "4,5", "--seeds", "6", "--words", "a, b", "--words", "none"),
        *("--files", "one", "--files", "two", "--pair", "c", "d", "--place", "e"),
        *("--kind", "large", "--is-sure", "--once", "--sixteen", "--size", 9),
    )
    found, things, loud = invoke((Toy,), "B", "--config", file, *flags, "C", "--loud")
    assert found == Toy(
        name="m",
        size=9,
        share=1.0,
        kind="large",
        is_sure=True,
        is_once=True,
        seeds=(4, 5, 6),
        words=("a", "b"),
        files=(Path("one"), Path("two")),
        pair=(Path("c"), Path("d")),
        place=Path("e"),
        bits="sixteen",
    )
    assert (things, loud) == ([Path("B"), Path("C")], True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--name is missing: give it, or name = ... in a --config file"),
        (("--size", 0), "--size 0: must be 1 or more"),
        (("--share", 2), "--share 2: must be from 0 to 1"),
        (("--kind", "huge"), "--kind huge: choose one of small, large"),
        (("--seeds", "1,b"), "--seeds 1,b: write whole numbers with commas between, or none"),
        (("--eight", "--sixteen"), "--eight and --sixteen exclude each other"),
    ],
)
def test_a_request_that_makes_no_sense_is_explained(
    arguments: tuple[object, ...], message: str
) -> None:
    name = ("--name", "n") if arguments else ()
    with pytest.raises(InputError, match=re.escape(message)):
        invoke((Toy,), *name, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = 3", "seeds = 3 is not a list of int"),
        ('seeds = ["3"]', "seeds = '3' is not int"),
        ('pair = ["a"]', r"pair = \['a'\] is not a list of Path"),
        ("place = 3", "place = 3 is not a path"),
    ],
)
def test_a_value_of_another_type_is_explained(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "asked.toml"
    file.write_text(f'name = "n"\n{text}\n')
    with pytest.raises(InputError, match=message):
        load_config(file, {}, Toy)


def test_a_command_may_choose_what_it_is_not_given(tmp_path: Path) -> None:
    file = tmp_path / "asked.toml"
    file.write_text("size = 4\n")
    asked: list[Asked] = []

    def work(given: Asked) -> None:
        asked.append(given)

    run(work, (Toy,))
    run(work, (Toy,), "--config", file, "--share", 0.25)
    assert [one.options for one in asked] == [{}, {"size": 4, "share": 0.25}]
    with pytest.raises(InputError, match="--name is missing"):
        asked[0].request()
    project = {"name": "n", "size": 9, "share": 1}
    assert asked[0].request(project) == Toy(name="n", size=9, share=1.0)
    assert asked[1].request(project) == Toy(name="n", size=4, share=0.25)
    with pytest.raises(InputError, match="edgecd.toml: size = '9' is not int"):
        asked[0].request({"name": "n", "size": "9"})


def test_options_of_another_method_are_not_taken_from_the_project() -> None:
    asked = Asked(COMMANDS["train"], None, {"method": "prompt-tuning"})
    found = asked.request({"student": "s", "alpha": 0.5, "shots": 4, "seed": 7})
    assert (found.method, found.student, found.shots, found.seed) == ("prompt-tuning", "s", 4, 7)


def test_a_method_has_its_own_options(tmp_path: Path) -> None:
    kinds = COMMANDS["train"]
    with pytest.raises(InputError, match="--alpha has no meaning for --method mend"):
        invoke(kinds, "--method", "mend", "--alpha", 1)
    with pytest.raises(InputError, match="--vectors has no meaning for --method cd"):
        invoke(kinds, "--vectors", 3)
    with pytest.raises(InputError, match="choose one of cd, pbft, mend, hypertuning, gist, prompt"):
        invoke(kinds, "--method", "magic")
    file = tmp_path / "asked.toml"
    file.write_text('method = "magic"\n')
    with pytest.raises(InputError, match="--method magic: choose one of cd"):
        invoke(kinds, "--config", file)


def test_an_option_that_is_like_another_differs_where_it_says_so() -> None:
    @dataclass(frozen=True)
    class Other:
        size: int = like(Toy, "size", 5, low=2)
        share: float = like(Toy, "share")

    size, share = dataclasses.fields(Other)
    assert (size.default, share.default) == (5, 0.5)
    assert (option_of(size).help, option_of(size).low) == ("A size.", 2)
    assert option_of(share) == option_of(dataclasses.fields(Toy)[2])
