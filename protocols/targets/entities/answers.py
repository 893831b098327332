"""A broker's answer to a batch of entities: which of them it has not taken, and why.

Does no I/O. Brokers agree on little here, so whatever can be understood is, and an entity of which
the answer says nothing counts as not taken: sending one once more than needed costs nothing, because
an upsert may be repeated.

Source: ETSI GS CIM 009 (NGSI-LD API), sections 5.2.16 (BatchOperationResult), 5.2.17
(BatchEntityError) and 5.5.2 (types of errors); the public behaviour of Orion-LD and Scorpio.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

# What is the same however often the same entity is sent.
_FINAL_TYPES = frozenset(
    {
        "BadRequestData",
        "InvalidRequest",
        "NoMultiTenantSupport",
        "OperationNotSupported",
        "TooComplexQuery",
        "TooManyResults",
    }
)
_RETRYABLE_TYPES = frozenset({"InternalError", "LdContextNotAvailable"})
# For errors of another type or of none. What the owner of the broker can mend (401, 403, 404) or what
# passes by itself (409, of two writers at once) is not among them.
_FINAL_STATUSES = frozenset({400, 405, 406, 413, 415, 422})


@dataclass(frozen=True, slots=True)
class EntityError:
    """Why one entity was not taken."""

    title: str
    """The broker's words; not to be shown before they are cut, and rid of secrets."""
    is_final: bool
    """Whether sending the same entity again is of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    taken: frozenset[str]
    """Ids of entities that are stored."""
    errors: Mapping[str, EntityError] = field(default_factory=dict)
    """Those that are not, by id."""
    has_errors: bool
    """Also when none of them could be assigned to an entity."""


def read_batch_result(body: bytes) -> BatchResult | None:
    """Return what the answer says, or None if it is not such a result."""
    try:
        result = msgspec.json.decode(body, type=dict[str, Any])
    # UnicodeDecodeError is a ValueError, as are the errors of msgspec.
    except (ValueError, RecursionError):
        return None
    listed = result.get("errors")
    if not isinstance(listed, list):
        return None
    errors: dict[str, EntityError] = {}
    for entry in listed:
        error = _error(entry)
        for entity_id in _ids(entry):
            # Of two errors about one entity, the one that leaves hope decides: nothing is given up early.
            if entity_id not in errors or errors[entity_id].is_final:
                errors[entity_id] = error
    success = result.get("success")
    taken = {entity_id for each in _listed(success) for entity_id in _ids(each)}
    return BatchResult(
        taken=frozenset(taken - errors.keys()), errors=errors, has_errors=bool(listed)
    )


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _ids(entry: object) -> Iterator[str]:
    """The ids that an entry of `success` or `errors` is about: a text, or an object that names it."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        named = entry.get("entityId", entry.get("id"))
        yield from (each for each in _listed(named) or [named] if isinstance(each, str))


def _error(entry: object) -> EntityError:
    problem = entry.get("error") if isinstance(entry, dict) else None
    if isinstance(
        problem, list
    ):  # Some brokers list several for an entity; the first tells enough.
        problem = problem[0] if problem else None
    if not isinstance(problem, dict):
        return EntityError(problem if isinstance(problem, str) else "", is_final=False)
    kind = str(problem.get("type", "")).rpartition("/")[2]
    words = [problem.get("title"), problem.get("detail")]
    title = ": ".join(word for word in [kind, *words] if isinstance(word, str) and word)
    return EntityError(title, is_final=_is_final(kind, problem.get("status")))


def _is_final(kind: str, status: object) -> bool:
    if kind in _FINAL_TYPES or kind in _RETRYABLE_TYPES:
        return kind in _FINAL_TYPES
    return isinstance(status, int) and status in _FINAL_STATUSES
