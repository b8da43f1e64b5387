"""Expected failures of mutations, as data: each names what its reader should do."""

from __future__ import annotations

from enum import Enum

import strawberry

from api.errors import BadInput, NotFound
from api.schema.inputs import camel_case
from plimsoll.errors import PlimsollError, Unavailable


@strawberry.enum(description="Stable codes: programs may rely on them.")
class ProblemCode(Enum):
    """The same codes that errors of queries carry in `extensions.code`."""

    BAD_INPUT = "BAD_INPUT"
    NOT_FOUND = "NOT_FOUND"
    UNAVAILABLE = "UNAVAILABLE"


@strawberry.interface(description="Why nothing was done.")
class Problem:
    """A code for programs and a sentence for people."""

    code: ProblemCode
    message: str


@strawberry.type(description="An argument cannot be used: correct it and send it again.")
class InvalidInputProblem(Problem):
    """`BadInput` as data."""

    field: str = strawberry.field(description="The path of what is wrong, like positions[0].quantity.")


@strawberry.type(description="There is no such thing.")
class NotFoundProblem(Problem):
    """`NotFound` as data."""


@strawberry.type(description="Kafka or Redis is away: try again.")
class UnavailableProblem(Problem):
    """`Unavailable` as data."""

    dependency: str


EXPECTED = (BadInput, NotFound, Unavailable)


def problem_of(error: PlimsollError) -> InvalidInputProblem | NotFoundProblem | UnavailableProblem:
    """An expected error as data. Any other is raised again."""
    match error:
        case BadInput():
            return InvalidInputProblem(code=ProblemCode.BAD_INPUT, message=error.detail, field=camel_case(error.field))
        case NotFound():
            return NotFoundProblem(code=ProblemCode.NOT_FOUND, message=str(error))
        case Unavailable():
            return UnavailableProblem(code=ProblemCode.UNAVAILABLE, message=str(error), dependency=error.dependency)
    raise error
