"""What an answer of Kafka, or the want of one, means for a delivery.

Texts are written here and never taken from brokers or from the library, which may quote logins.
"""

import os
import ssl
from collections.abc import Mapping
from typing import Final

from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    IllegalSaslStateError,
    IncompatibleBrokerVersion,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaError,
    KafkaStorageError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    PolicyViolationError,
    RecordListTooLargeError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
    for_code,
)

from protocols.errors import DeliveryError, DeliveryFault, DeliveryRefused, DeliveryRetryable
from protocols.targets.kafka_wire.cluster import TopicRefused
from protocols.targets.kafka_wire.connection import UnacceptableAnswer

# Codes that the library does not know. Source: the Kafka protocol guide, error codes.
_FENCED_LEADER_EPOCH: Final = 74
_INVALID_RECORD: Final = 87
_THROTTLING_QUOTA_EXCEEDED: Final = 89

MOVED: Final = frozenset(
    {
        UnknownTopicOrPartitionError.errno,
        LeaderNotAvailableError.errno,
        NotLeaderForPartitionError.errno,
        _FENCED_LEADER_EPOCH,
    }
)
"""Nothing was written, since the partition is led by another broker by now, or is gone."""

TOO_LARGE: Final = frozenset({MessageSizeTooLargeError.errno, RecordListTooLargeError.errno})
"""Nothing was written, since all the records of one partition together, or one, are too much."""

_MEANINGS: Final[Mapping[int, tuple[DeliveryFault, str]]] = {
    UnknownTopicOrPartitionError.errno: (
        DeliveryFault.CONFIGURATION,
        "Kafka has no such topic.",
    ),
    LeaderNotAvailableError.errno: (
        DeliveryFault.RECEIVER,
        "No broker leads the partition at present.",
    ),
    NotLeaderForPartitionError.errno: (
        DeliveryFault.RECEIVER,
        "The partition is moving from one broker to another.",
    ),
    RequestTimedOutError.errno: (
        DeliveryFault.THROTTLED,
        "Kafka has not copied the record to all replicas in time.",
    ),
    MessageSizeTooLargeError.errno: (
        DeliveryFault.MESSAGE,
        "The message is larger than the topic takes.",
    ),
    InvalidTopicError.errno: (DeliveryFault.CONFIGURATION, "Kafka does not take this topic."),
    NotEnoughReplicasError.errno: (
        DeliveryFault.RECEIVER,
        "Too few replicas of the partition are in sync to take anything.",
    ),
    NotEnoughReplicasAfterAppendError.errno: (
        DeliveryFault.RECEIVER,
        "Too few replicas of the partition were in sync when it was written.",
    ),
    TopicAuthorizationFailedError.errno: (
        DeliveryFault.CONFIGURATION,
        "Kafka does not allow the hub to write to this topic.",
    ),
    ClusterAuthorizationFailedError.errno: (
        DeliveryFault.CONFIGURATION,
        "Kafka does not allow the hub to do this in the cluster.",
    ),
    InvalidTimestampError.errno: (
        DeliveryFault.CONFIGURATION,
        "Kafka does not take the record's time: the hub's clock and the broker's differ too much.",
    ),
    PolicyViolationError.errno: (
        DeliveryFault.CONFIGURATION,
        "A policy of the cluster forbids this.",
    ),
    KafkaStorageError.errno: (DeliveryFault.RECEIVER, "The broker's disk has failed."),
    _INVALID_RECORD: (
        DeliveryFault.CONFIGURATION,
        "Kafka finds the record invalid; a topic that is compacted needs a `key`.",
    ),
    _THROTTLING_QUOTA_EXCEEDED: (DeliveryFault.THROTTLED, "A quota of the cluster is used up."),
}

_NO_LOGIN: Final = (AuthenticationFailedError, SaslAuthenticationFailed)
_OTHER_LOGIN: Final = (
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    UnsupportedSaslMechanismError,
)


def error_of_code(error_code: int) -> DeliveryError:
    """Return the error that a broker's answer to a record amounts to."""
    known = _MEANINGS.get(error_code)
    if error_code in TOO_LARGE:
        fault, sentence = _MEANINGS[MessageSizeTooLargeError.errno]
        return DeliveryRefused(sentence, fault=fault)
    fault, sentence = known or (
        DeliveryFault.RECEIVER,
        f"Kafka answered {for_code(error_code).message} (error {error_code}).",
    )
    return DeliveryRetryable(sentence, fault=fault)


def error_of_exception(error: KafkaError | OSError | TopicRefused) -> DeliveryError:
    """Return the error that a failed exchange with a broker amounts to."""
    if isinstance(error, TopicRefused):
        return error_of_code(error.error_code)
    # A connection that broke is an error of the library's own; what broke it is behind it.
    cause = error.__cause__
    if isinstance(error, KafkaError) and isinstance(cause, OSError | KafkaError):
        return error_of_exception(cause)
    fault, sentence = _meaning(error)
    return DeliveryRetryable(sentence, fault=fault)


def _meaning(error: KafkaError | OSError) -> tuple[DeliveryFault, str]:
    match error:
        case ssl.SSLCertVerificationError():
            reason = f": {error.verify_message}" if error.verify_message else ""
            sentence = f"The broker's certificate is not accepted{reason}."
            return DeliveryFault.CONFIGURATION, sentence
        case ssl.SSLError():
            return (
                DeliveryFault.CONFIGURATION,
                "The broker and the hub could not agree on TLS; "
                "it may want a `clientCertificate`, or another `securityProtocol`.",
            )
        case UnacceptableAnswer():
            return (
                DeliveryFault.RECEIVER,
                "What the broker answered is not acceptable Kafka; "
                "if it always does, `securityProtocol` may be another.",
            )
        case TimeoutError():
            return DeliveryFault.CONNECTION, "No connection to a broker came about in time."
        case _ if isinstance(error, _NO_LOGIN):
            sentence = "The broker does not accept `username` and `password`."
            return DeliveryFault.CONFIGURATION, sentence
        case _ if isinstance(error, _OTHER_LOGIN):
            sentence = "The broker does not offer this `saslMechanism` here."
            return DeliveryFault.CONFIGURATION, sentence
        case IncompatibleBrokerVersion() | UnsupportedVersionError():
            sentence = "The broker and the hub have no version of the protocol in common."
            return DeliveryFault.CONFIGURATION, sentence
        case ConnectionResetError() | BrokenPipeError() | KafkaError():
            return (
                DeliveryFault.RECEIVER,
                "The broker closed the connection instead of answering; "
                "if it always does, `securityProtocol` may be another.",
            )
        case _:
            reason = f": {os.strerror(error.errno)}" if error.errno else ""
            return DeliveryFault.CONNECTION, f"No broker can be reached{reason}."


def not_connected(timeout_s: float) -> DeliveryRetryable:
    """Return the error for a record that could not be sent before the time was over."""
    return DeliveryRetryable(
        f"No broker had let the hub in after {timeout_s:g} s.", fault=DeliveryFault.CONNECTION
    )


def no_answer(timeout_s: float) -> DeliveryRetryable:
    """Return the error for a record that was sent and not acknowledged before the time was over."""
    return DeliveryRetryable(
        f"Kafka had not acknowledged the record after {timeout_s:g} s.",
        fault=DeliveryFault.THROTTLED,
    )
