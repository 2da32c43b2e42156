"""What suites and run specifications may hold: pydantic types, and their errors in words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError
from typing_extensions import Required, TypedDict

from benchmarks.budget import UNITS, Budget, Target
from benchmarks.suites.document import DEVICES, Place, Refusal
from tasks.errors import UserError, did_you_mean, unknown_name
from tasks.option_types import shown_value
from tasks.registry import Registry, match

PROFILES = ("paper", "short", "smoke")
LARGEST_SEED = 2**63 - 1
"""Of a run: what numpy, torch and a signed column of a table hold alike."""
LARGEST_COUNT = 2**31 - 1


def must_be(words: str, known: Collection[str] = ()) -> pydantic.WrapValidator:
    """Keep a value as it is if the annotated type takes it; otherwise say what it must be."""

    def check(value: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            validate(value)
        except ValidationError as error:
            hint = did_you_mean(value, known) if isinstance(value, str) else ""
            details = error.errors(include_url=False)[0]
            if details["type"] == "less_than_equal":
                hint = f" (at most {details['ctx']['le']})"
            if words.startswith("text"):
                hint = _quotes(value)
            raise PydanticCustomError("must_be", "{w}{h}", {"w": words, "h": hint}) from None
        return value

    return pydantic.WrapValidator(check)


def _quotes(value: Any) -> str:
    return ": put it in quotes" if isinstance(value, int | float) else ""


def known_keys(what: str, known: Collection[str]) -> BeforeValidator:
    """Refuse a key that a mapping may not have, with the nearest one that it may."""

    def check(value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if key not in known:
                kind = f"key of {what}" if what else "key"
                raise Refusal(str(unknown_name(kind, key, known)), key=key)
        return value

    return BeforeValidator(check)


def distinct(sentence: str, label: Callable[[Any], Any] | None = None) -> AfterValidator:
    """Refuse a list in which a label is there twice; ``sentence`` has ``{}`` in its place."""

    def check(values: tuple[Any, ...]) -> tuple[Any, ...]:
        labels = [label(value) for value in values] if label else values
        for position, each in enumerate(labels):
            if each in labels[:position]:
                raise Refusal(sentence.format(each), position)
        return values

    return AfterValidator(check)


def entry(
    read: Callable[[Any], Any], registry: Registry[Any], schema: dict[str, Any]
) -> pydantic.GetPydanticSchema:
    """An entry with a registered name.

    Args:
        read: gives the fields of the entry from what a file has.
        registry: holds its name.
        schema: JSON Schema of what a file has.
    """

    def check(found: Any) -> Any:
        known = registry.names()
        if all(match(pattern, found.name) is None for pattern in known):
            message = str(unknown_name(registry.kind, found.name, known))
            raise Refusal(message, "name", key=found.name)
        return found

    def schema_of(source: Any, handler: pydantic.GetCoreSchemaHandler) -> Any:
        checks = BeforeValidator(read), AfterValidator(check), WithJsonSchema(schema)
        return handler.generate_schema(Annotated[source, checks[0], checks[1], checks[2]])

    return pydantic.GetPydanticSchema(schema_of)


def _reader(parse: Callable[[Any], Any]) -> pydantic.PlainValidator:
    """A function that raises ``UserError``, as the validator of a type."""

    def read(value: Any) -> Any:
        try:
            return parse(value)
        except UserError as error:
            raise Refusal(str(error)) from None

    return pydantic.PlainValidator(read)


_WORDS = {
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping (key: value)",
    "dataclass_type": "must be a mapping (key: value)",
    "too_short": "must not be empty",
}


def first_error(
    error: ValueError, whole: str, show: Callable[[Place, Any], str] | None = None
) -> tuple[Place, str, Any]:
    """The first error in words.

    Args:
        error: pydantic's, of a type that is made of those of this module.
        whole: what was validated, in words.
        show: gives a value at a place as its file has it.

    Returns:
        Where it is, the sentence, and the key there that is wrong, if one is.
    """
    assert isinstance(error, ValidationError)
    details = error.errors(include_url=False)[0]
    place, context, value = details["loc"], details.get("ctx", {}), details["input"]
    refusal = context.get("error")
    if isinstance(refusal, Refusal):
        return (*place, *refusal.at), str(refusal), refusal.key or value
    if details["type"] == "missing":
        return place[:-1], f"the key '{place[-1]}' is missing", None
    name = str(next((part for part in reversed(place) if isinstance(part, str)), whole))
    name = f"an entry of {name}" if place and isinstance(place[-1], int) else name
    if details["type"] in ("must_be", "string_type"):
        words, hint = context.get("w", "text"), context.get("h", _quotes(value))
        shown = show(place, value) if show else shown_value(value)
        return place, f"{name} must be {words}, got {shown}{hint}", None
    return place, f"{name} {_WORDS.get(details['type'], details['msg'])}", None


AnyText = Annotated[str, Strict(), must_be("text")]
Text = Annotated[str, Strict(), Field(pattern=r"\S"), must_be("text")]
FolderName = Annotated[
    str,
    Strict(),
    Field(pattern=r"^[\w-][\w.-]*$"),
    must_be("text that does as a folder name (letters, digits, '_', '-', '.')"),
]
Options = Annotated[Mapping[str, Any], must_be("a mapping (key: value)")]
Seed = Annotated[
    int, Strict(), Field(ge=0, le=LARGEST_SEED), must_be("a whole number of at least 0")
]
Count = Annotated[
    int, Strict(), Field(ge=1, le=LARGEST_COUNT), must_be("a whole number of at least 1")
]
BatchSizes = Annotated[
    tuple[Count, ...],
    distinct("duplicate value {} in latency_batch_sizes"),
    pydantic.PlainSerializer(lambda sizes: [*sizes]),
]
Profile = Annotated[
    str,
    Field(pattern=f"^({'|'.join(PROFILES)})$", json_schema_extra={"enum": [*PROFILES]}),
    must_be(f"one of {', '.join(PROFILES)}", PROFILES),
]
Device = Annotated[str, Field(pattern=f"^({DEVICES})$"), must_be("auto, cpu, cuda or cuda:N")]

BudgetField = Annotated[
    Budget,
    _reader(Budget.parse),
    pydantic.PlainSerializer(Budget.as_dict),
    WithJsonSchema({"type": "object", "propertyNames": {"enum": [*UNITS]}, "minProperties": 1}),
]
TargetField = Annotated[
    Target | None,
    _reader(Target.parse),
    pydantic.PlainSerializer(lambda target: None if target is None else target.written()),
    WithJsonSchema({"type": ["number", "object", "null"], "minProperties": 1, "maxProperties": 1}),
]


def _mapping(name: str, **keys: Any) -> Any:
    """A mapping whose keys, where they are given, have these types; it may have others."""
    found = TypedDict(name, keys, total=False)
    return pydantic.with_config(pydantic.ConfigDict(extra="allow", strict=True))(found)


_RATES = dict.fromkeys(("lr", "weight_decay", "momentum", "dampening", "eps"), float)
_FRACTIONS = dict.fromkeys(("begin", "end", "T_max"), float)
_RECIPE: dict[str, tuple[Any, str]] = {
    "optimizer": (
        _mapping("Optimizer", type=str, **_RATES),
        "a mapping such as {type: SGD, lr: 0.1}, with numbers for rates",
    ),
    "schedule": (
        list[_mapping("Scheduler", type=Required[str], milestones=list[float], **_FRACTIONS)],
        "a list of mappings such as {type: CosineAnnealingLR, T_max: 1.0}, with fractions of the "
        "budget for begin, end, T_max and milestones",
    ),
    "paramwise": (
        _mapping("Paramwise", custom_keys=dict[str, dict[str, Any]]),
        "a mapping, and so must be each of its custom_keys",
    ),
    "clip_grad": (
        _mapping("Clip", max_norm=float) | None,
        "a mapping such as {max_norm: 1.0}, or null",
    ),
    "amp": (Literal["float16", "bfloat16"] | None, "float16, bfloat16 or null"),
    **dict.fromkeys(("channels_last", "compile", "tf32"), (bool, "true or false")),
}
_CHANGES = _mapping(
    "Recipe",
    batch_size=Count,
    accumulate=Count,
    **{key: Annotated[kind, must_be(words)] for key, (kind, words) in _RECIPE.items()},
)
RecipeChanges = Annotated[
    Mapping[str, Any],
    pydantic.GetPydanticSchema(lambda _, handler: handler.generate_schema(_CHANGES)),
    pydantic.WrapValidator(lambda value, validate: (validate(value), value)[1]),
    known_keys("recipe", _CHANGES.__annotations__),
    pydantic.PlainSerializer(lambda changes: {**changes}),
]
"""Changes to the recipe of a task (:class:`tasks.base.Recipe`), kept as they are written."""
