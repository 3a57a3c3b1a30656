"""Every exception that hpcorch raises, under one root.

```text
HpcorchError
├── InputError (also a ValueError)      what the user said cannot be done; nothing was started
│   ├── InputTypeError (also a TypeError)
│   ├── InputFileError (also a FileNotFoundError)
│   ├── LimitError                      the cluster does not accept as much as was asked for
│   └── SiteRefusal                     a template of the site does not allow it
├── SiteError                           a site profile cannot be used
├── TemplateError                       a template cannot be used
│   ├── UnsafeTemplate                  it prints a value unquoted, or others may write it
│   └── RenderError                     it failed while rendering
├── ServerNotFound                      no usable Redis-compatible server program
├── SecurityError                       the request would let others in
├── SchedulerError                      a scheduler command went wrong
│   ├── CommandFailed
│   ├── CommandTimeout
│   ├── ParseError                      its output could not be understood
│   └── SubmitAmbiguous                 it may or may not have accepted the job
├── StorageError                        the run directory cannot be written
├── RunNotFound                         a directory holds no hpcorch run
├── StartFailed                         a job was accepted but its service never answered
└── NotActive                           the operation needs a running database
```
"""

from __future__ import annotations


class HpcorchError(Exception):
    """Root of all errors; `hint` says what to do next (may be empty)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InputError(HpcorchError, ValueError):
    """A value that the user gave is not allowed."""


class InputTypeError(InputError, TypeError):
    """A value that the user gave has the wrong type."""


class InputFileError(InputError, FileNotFoundError):
    """A file that the user named is not there, or cannot be read."""


class LimitError(InputError):
    """A request is beyond what the cluster accepts."""


class SiteRefusal(InputError):
    """A template of the site refuses the request, in the site's own words."""


class SiteError(HpcorchError):
    """A site profile is missing, malformed or inconsistent."""


class TemplateError(HpcorchError):
    """A template cannot be used."""


class UnsafeTemplate(TemplateError):
    """A template prints a value without an approved filter, or others may write it."""


class RenderError(TemplateError):
    """A template failed while rendering."""


class ServerNotFound(HpcorchError):
    """No usable Redis-compatible server program."""


class SecurityError(HpcorchError):
    """The request would let other users in."""


class SchedulerError(HpcorchError):
    """A scheduler command went wrong."""


class CommandFailed(SchedulerError):
    """A command could not be started or returned an error."""


class CommandTimeout(SchedulerError):
    """A command did not end in time."""


class ParseError(SchedulerError):
    """The output of a command could not be understood."""


class SubmitAmbiguous(SchedulerError):
    """It is unknown whether the scheduler accepted the job."""


class StorageError(HpcorchError):
    """The run directory cannot be written: a full disk, a quota, a read-only file system."""


class RunNotFound(HpcorchError):
    """A directory holds no hpcorch run."""


class StartFailed(HpcorchError):
    """A job was accepted, but what it starts never answered."""


class NotActive(HpcorchError):
    """The operation needs a running database."""
