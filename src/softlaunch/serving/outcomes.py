"""What became of a prediction request, as the reply that says so."""

from __future__ import annotations

from softlaunch import errors
from softlaunch.serving import batching, replies


def measured(
    reply: replies.Reply, body: bytes, started: float, row_count: int = 0, cpu_us: int | None = None
) -> replies.Reply:
    return reply._replace(measured=replies.Measured(body, started, row_count, cpu_us))


def refused(refusal: Exception, batcher: batching.Batcher) -> replies.Reply:
    match refusal:
        case batching.Overloaded():
            return replies.shed(batcher.waiting_rows, batcher.retry_seconds)
        case batching.TooManyRows():
            return replies.too_many_rows(batcher.queue_rows_max)
        case errors.ConfigError():
            return replies.refused(refusal)
    raise errors.InvariantError(f"This refuses no request: {refusal!r:.100}.")


def unanswered(outcome: batching.Outcome) -> replies.Reply:
    match outcome:
        case batching.Failed(message):
            return replies.model_failed(message)
        case batching.Invalid(row, output, message):
            return replies.answer_invalid(row, output, message)
        case batching.Expired():
            return replies.expired()
    raise errors.InvariantError(f"An answered outcome is no refusal: {outcome!r:.100}.")
