"""Commands made from the configurations that they take: each field is an option."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from edgecd.cli.asked import CHOOSER, Asked
from edgecd.cli.options import app, names, numbers
from edgecd.config import GROUPS, Option, flag, option_of
from edgecd.errors import InputError

ConfigFile = Annotated[Path | None, typer.Option(help="A TOML file of options; flags win over it.")]
COLUMN = 24


@dataclass(frozen=True)
class Field:
    """An option as the configurations of one command declare it.

    `defaults` has the default of each kind that has the option, by what it is told apart with.
    """

    name: str
    said: Option
    hint: Any
    defaults: Mapping[str, Any]


def command(
    *kinds: type[Any], cls: type[typer.core.TyperCommand] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command whose options are the fields of `kinds`, and its own parameters.

    The function's first parameter is the configuration, made of defaults, a --config file and
    flags, of which the last one wins; its others are declared as typer's. Where its type is Asked,
    the function gets what was given, to choose the rest itself. Of several kinds the option
    `--method` chooses: the one that has it among its choices. `cls` is how it is parsed.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        name = function.__name__.replace("_", "-")
        app.command(name, cls=cls)(make_command(function, kinds))
        return function

    return register


def make_command(function: Callable[..., None], kinds: Sequence[type[Any]]) -> Callable[..., None]:
    """What typer runs: it has a parameter for each option, and calls `function` with the request.

    Raises InputError, when it is run, for a request that makes no sense.
    """
    fields = fields_of(kinds)
    hints = typing.get_type_hints(function, include_extras=True)
    first, *own = inspect.signature(function).parameters.values()
    parameters = [one.replace(kind=one.KEYWORD_ONLY, annotation=hints[one.name]) for one in own]
    # Beside the function's own, for the heading that has no name.
    parameters.append(_parameter("config", ConfigFile, None))
    for field in sorted(fields, key=lambda field: _place(field.said.group)):
        parameters += _parameters(field)
    parameters.append(_parameter("context_of_call", typer.Context, inspect.Parameter.empty))
    assert len({one.name for one in parameters}) == len(parameters), f"{function.__name__}: twice"

    def run(config: Path | None, context_of_call: typer.Context, **values: Any) -> None:
        given = {
            name: value
            for name, value in values.items()
            if context_of_call.get_parameter_source(name).name != "DEFAULT"  # type: ignore[union-attr]
        }
        flags = {field.name: _value(field, given) for field in fields}
        flags = {name: value for name, value in flags.items() if value is not None}
        asked = Asked(kinds, config, flags)
        request = asked if hints[first.name] is Asked else asked.request()
        function(request, **{one.name: values[one.name] for one in own})

    run.__doc__ = function.__doc__
    run.__name__ = function.__name__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def fields_of(kinds: Sequence[type[Any]]) -> list[Field]:
    """Every option of these configurations once, as its first kind declares it.

    What means the same in two kinds has the same words there; choices and defaults are put
    together.
    """
    found: dict[str, Field] = {}
    for kind in kinds:
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            said = option_of(field)
            earlier = found.get(field.name)
            if earlier is not None:
                assert (said.help, said.group) == (earlier.said.help, earlier.said.group), (
                    f"{field.name} is one thing in {kind.__name__} and another before"
                )
                choices = dict.fromkeys((*earlier.said.choices, *said.choices))
                said = dataclasses.replace(said, choices=tuple(choices))
            defaults = {**(earlier.defaults if earlier else {}), _title(kind): field.default}
            found[field.name] = Field(field.name, said, hints[field.name], defaults)
    return list(found.values())


def _title(kind: type[Any]) -> str:
    """What a kind is called in `--help` beside others: its first method."""
    for field in dataclasses.fields(kind):
        if field.name == CHOOSER:
            return next(iter(option_of(field).choices))
    return ""


def _place(group: str) -> int:
    return GROUPS.index(group) if group in GROUPS else -1


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def _parameters(field: Field) -> list[inspect.Parameter]:
    """The parameters of an option: one, or one for each choice that is a flag of its own."""
    said = field.said
    if said.choices and said.flags:
        return [
            _parameter(
                _switch(name),
                Annotated[bool, typer.Option(name, help=text, rich_help_panel=_panel(said))],
                False,
            )
            for name, text in said.flags.items()
        ]
    kind, several = _kind(field.hint)
    needed = dataclasses.MISSING in field.defaults.values()
    default, shown = (None, True) if needed else _shown(field)
    # Where they are many, choices read better as words than squeezed into a column.
    text, metavar = said.help, "|".join(said.choices)
    if len(metavar) > COLUMN:
        text, metavar = f"{text[:-1]}: {', '.join(said.choices)}.", ""
    info = typer.Option(
        *(said.flags or ([f"{flag(field.name)}/--no-{flag(field.name)[2:]}"] * (kind is bool))),
        help=text + " (required)" * needed,
        show_default=shown,
        metavar=metavar or (_metavar(kind) if several and not said.path else None),
        rich_help_panel=_panel(said),
    )
    annotation = kind
    if several:
        annotation = list[str] if kind in (int, str) else list[kind]  # type: ignore[valid-type]
    elif isinstance(kind, tuple):
        annotation = tuple[kind]  # type: ignore[valid-type]
    if default is None:
        annotation = annotation | None
    return [_parameter(field.name, Annotated[annotation, info], default)]


def _panel(said: Option) -> str | None:
    return said.group if said.group != "Options" else None


def _switch(name: str) -> str:
    return name.removeprefix("--").replace("-", "_")


def _kind(hint: Any) -> tuple[Any, bool]:
    """The type of an option's value, and whether it takes several; types for a fixed number."""
    hint = next((one for one in typing.get_args(hint) if type(None) in typing.get_args(hint)), hint)
    items = typing.get_args(hint)
    if not items:
        return hint, False
    if typing.get_origin(hint) is list or items[-1] is Ellipsis:
        return items[0], True
    return items, False


def _metavar(kind: Any) -> str | None:
    return {int: "N,N", str: "NAME,NAME"}.get(kind)


def _shown(field: Field) -> tuple[Any, bool | str]:
    """The default of the parameter, and what `--help` says of it where kinds differ."""
    default = next(iter(field.defaults.values()))
    others = {name: one for name, one in field.defaults.items() if one != default}
    if not others or field.name == CHOOSER:
        if isinstance(default, tuple | list):
            return list(map(str, default)) or None, True
        return default, True
    first = [] if default is None else [str(default)]
    return None, "; ".join([*first, *(f"{name}: {one}" for name, one in others.items())])


def _value(field: Field, given: Mapping[str, Any]) -> Any:
    """What was given for a field on the command line; None for nothing.

    Raises InputError for two flags that exclude each other, and numbers that are none.
    """
    said = field.said
    if said.choices and said.flags:
        chosen = [name for name in said.flags if given.get(_switch(name))]
        if len(chosen) > 1:
            raise InputError(f"{' and '.join(chosen)} exclude each other: choose one")
        return list(said.choices)[list(said.flags).index(chosen[0])] if chosen else None
    value = given.get(field.name)
    kind, several = _kind(field.hint)
    if value is None or not several or kind not in (int, str) or said.path:
        return value
    text = ",".join(value)
    return names(text) if kind is str else numbers(flag(field.name)[2:], text)
