"""What a caller is told when a request fails, in OS2iot's shapes.

`{statusCode, message, error}` everywhere, where `message` is a code, a sentence, or for a body or
query that does not fit a list of `{property, constraints, children}`; what was sent is never
repeated, since it may hold secrets. Under `/auth` it is `{statusCode, timestamp, path}`. Where
`message` is a code, `detail` says it in a sentence. A failure of the hub itself says nothing but an
`errorId`, which stands in the log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from marshmallow import ValidationError

from protocols.errors import (
    AccessDenied,
    Conflict,
    HubFull,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    RowRefused,
    StorageUnavailable,
    TingbroError,
    Unauthenticated,
    UnsupportedContentType,
)
from web.error_codes import ErrorCode

# A database that cannot be written is retried by the engine; a second is a fair time to look again.
STORAGE_RETRY_AFTER_S = 1


class Refusal(InvalidInput):
    """A request that is refused with a status and message of its own."""

    code = "refusal"

    def __init__(
        self,
        status: int,
        message: str,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or message)
        self.status = status
        self.message = message
        self.detail = detail
        self.headers = headers or {}


class FieldsInvalid(InvalidInput):
    """A body or query does not fit its schema. `problems` is ready to be sent."""

    code = "fields_invalid"

    def __init__(self, error: ValidationError) -> None:
        super().__init__("The request does not fit what is expected.")
        found = error.messages
        self.problems = problems_of(found if isinstance(found, Mapping) else {"_schema": found})


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorAnswer:
    status: int
    message: str | Sequence[object]
    detail: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, object]:
        body: dict[str, object] = {
            "statusCode": self.status,
            "message": self.message,
            "error": HTTPStatus(self.status).phrase,
        }
        if self.detail is not None:
            body["detail"] = self.detail
        return body


def answer_of(error: TingbroError) -> ErrorAnswer | None:
    """What a caller is told of `error`, or None when it is a failure of the hub itself."""
    match error:
        case Refusal():
            return ErrorAnswer(
                status=error.status,
                message=error.message,
                detail=error.detail,
                headers=error.headers,
            )
        case FieldsInvalid():
            return ErrorAnswer(status=400, message=error.problems)
        case PayloadTooLarge():
            return ErrorAnswer(status=413, message=str(error))
        case UnsupportedContentType():
            return ErrorAnswer(status=415, message=str(error))
        case InvalidInput():
            return ErrorAnswer(status=400, message=str(error))
        case Unauthenticated():
            return ErrorAnswer(
                status=401, message=str(error), headers={"WWW-Authenticate": "Bearer"}
            )
        case AccessDenied():
            return ErrorAnswer(status=403, message=str(error))
        case NotFound():
            return ErrorAnswer(status=404, message=ErrorCode.ID_DOES_NOT_EXIST, detail=str(error))
        case Conflict():
            # The engine's sentence names tables and columns; that is the log's, not the caller's.
            return ErrorAnswer(
                status=409, message="Something that was there or was missing forbids this."
            )
        case RowRefused():
            return ErrorAnswer(status=400, message="A value in this request cannot be stored.")
        case HubFull():
            return _try_again("The hub is full for the moment.", error.retry_after_s)
        case StorageUnavailable():
            return _try_again("The hub cannot store anything at the moment.")
        case _:
            return None


def problems_of(errors: Mapping[Any, Any]) -> list[dict[str, object]]:
    """Turn marshmallow's errors into the list that clients of this API know."""
    return [_problem(str(name), found) for name, found in errors.items()]


def _problem(name: str, found: Any) -> dict[str, object]:
    if isinstance(found, Mapping):
        return {"property": name, "children": problems_of(found)}
    sentences = [str(sentence) for sentence in (found if isinstance(found, list) else [found])]
    constraints = {
        ("isValid" if index == 0 else f"isValid{index + 1}"): sentence
        for index, sentence in enumerate(sentences)
    }
    return {"property": name, "constraints": constraints, "children": []}


def _try_again(message: str, retry_after_s: int = STORAGE_RETRY_AFTER_S) -> ErrorAnswer:
    return ErrorAnswer(status=503, message=message, headers={"Retry-After": str(retry_after_s)})
