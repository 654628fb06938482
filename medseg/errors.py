"""Every error that medseg raises on purpose.

    MedsegError                       exit  retry
    ├─ InputError                       3    no
    │  ├─ UnreadableFileError
    │  ├─ IncompleteSeriesError
    │  ├─ GeometryMismatchError
    │  ├─ LabelTableError
    │  └─ LimitExceededError
    ├─ BundleError                      4    no
    │  ├─ BundleNotFoundError
    │  ├─ InvalidBundleError
    │  └─ UntrustedBundleError
    ├─ InferenceError                   5    no
    │  ├─ DeviceMemoryError                  yes
    │  └─ InvalidOutputError
    ├─ ConfigurationError               2    no
    └─ ServiceError                     6    no
       ├─ PeerUnreachableError               yes
       └─ PeerRefusedError

A message says what was found, what was expected, which case and what to do; never a patient's name,
birth date or identifier. ``exit_code`` is what the command line ends with, ``retryable`` whether the
same call may succeed later.
"""

from __future__ import annotations


class MedsegError(Exception):
    """The root of the tree; never raised itself."""

    exit_code = 1
    retryable = False


class InputError(MedsegError):
    """The data given cannot be used."""

    exit_code = 3


class UnreadableFileError(InputError):
    """A file is damaged, truncated or not of the format that it claims."""


class IncompleteSeriesError(InputError):
    """A DICOM series does not form one whole, evenly spaced stack of slices."""


class GeometryMismatchError(InputError):
    """A grid is unusable, or two grids that must agree do not."""


class LabelTableError(InputError):
    """A label map and its table do not agree, or the table is not sound."""


class LimitExceededError(InputError):
    """The input asks for more memory or time than the stated limit."""


class BundleError(MedsegError):
    """A bundle cannot be used."""

    exit_code = 4


class BundleNotFoundError(BundleError):
    """No bundle of that name or path."""


class InvalidBundleError(BundleError):
    """The bundle is damaged or contradicts itself."""


class UntrustedBundleError(BundleError):
    """The bundle asks for code or objects outside the allow-list."""


class InferenceError(MedsegError):
    """The network could not be run on this case."""

    exit_code = 5


class DeviceMemoryError(InferenceError):
    """The device ran out of memory."""

    retryable = True


class InvalidOutputError(InferenceError):
    """The network gave non-finite or wrongly shaped output."""


class ConfigurationError(MedsegError):
    """Options contradict each other, or a setting is not valid."""

    exit_code = 2


class ServiceError(MedsegError):
    """A remote peer failed."""

    exit_code = 6


class PeerUnreachableError(ServiceError):
    """A peer does not answer."""

    retryable = True


class PeerRefusedError(ServiceError):
    """A peer answered no."""
