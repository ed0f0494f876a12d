"""What can go wrong, in one tree."""


class LonghaulError(Exception):
    """The root of every error of ours that has a sentence to say."""


class ConfigError(LonghaulError):
    """A setting in the environment is missing or wrong; names the variable."""


class StorageError(LonghaulError):
    """The bucket cannot be used as configured."""


class StorageUnreachableError(StorageError):
    """The bucket does not answer; it may, later."""


class MessageError(LonghaulError):
    """A message cannot be sent, or what another sender put into the table is none."""


class KindError(LonghaulError):
    """A module in actors/ is not the job kind that it should be."""


class ClaimLost(BaseException):
    """This claim does not hold its job any more: somebody took it away. Whatever is not committed must not be.

    Not an Exception, so that no `except Exception` in a kind can swallow it.
    """
