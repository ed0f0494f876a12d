"""How a delivery ends: what Dramatiq makes of it, and what has happened meanwhile, decide its ack."""

from actors.runtime.base.errors import MessageError
from actors.runtime.base.failures import describe, is_transient
from actors.runtime.messages.acks import DONE, QUEUED, REJECTED, Ack
from actors.runtime.messages.delivery import Delivery, Outcome
from actors.runtime.messages.format import encode


def ack_of(delivery: Delivery, state: str) -> Ack:
    """`state` is what Dramatiq makes of it; a retry, or what follows and cannot be sent, may change that."""
    if delivery.outcome is Outcome.REQUEUE or state == QUEUED:
        return Ack.of(delivery, QUEUED)
    error = delivery.follow_up_error
    if error is not None and is_transient(error):
        return Ack.of(delivery, QUEUED)  # it is processed once more: better twice than half
    if error is None and delivery.next is not None:
        queue, body = delivery.next
        return Ack.of(delivery, QUEUED, body)._replace(queue_name=queue)
    if error is None and state == DONE:
        return Ack.of(delivery, DONE)
    cause = error or delivery.failure
    reason = None if cause is None else describe(cause)
    try:
        body = encode(delivery)  # what its middleware noted on it, the traceback above all
    except MessageError as unwritable:
        return Ack.of(delivery, REJECTED, None, reason or str(unwritable)[:500])
    return Ack.of(delivery, REJECTED, body, reason)
