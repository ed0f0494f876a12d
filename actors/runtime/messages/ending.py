"""How a delivery ends: its state from Dramatiq, and what has happened since, decide its ack."""

from actors.runtime.base.errors import MessageError
from actors.runtime.base.failures import describe, is_transient
from actors.runtime.messages.acks import DONE, QUEUED, REJECTED, Ack
from actors.runtime.messages.delivery import Delivery, Outcome
from actors.runtime.messages.format import encode


def ack_of(delivery: Delivery, state: str) -> Ack:
    """`state` comes from Dramatiq; a retry, or a follow-up message that can't be sent, may change it."""
    if delivery.outcome is Outcome.REQUEUE or state == QUEUED:
        return Ack.of(delivery, QUEUED)
    error = delivery.follow_up_error
    if error is not None and is_transient(error):
        return Ack.of(delivery, QUEUED)  # it is processed again: better twice than half
    if error is None and delivery.next is not None:
        queue, body = delivery.next
        return Ack.of(delivery, QUEUED, body)._replace(queue_name=queue)
    if error is None and state == DONE:
        return Ack.of(delivery, DONE)
    cause = error or delivery.failure
    reason = None if cause is None else describe(cause)
    try:
        body = encode(delivery)  # with what its middleware recorded, mainly the traceback
    except MessageError as unwritable:
        return Ack.of(delivery, REJECTED, None, reason or str(unwritable)[:500])
    return Ack.of(delivery, REJECTED, body, reason)
