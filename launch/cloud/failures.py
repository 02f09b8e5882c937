"""What gcloud's messages mean, and what mends them."""

import dataclasses
import enum
import re

from tinyjax.errors import UserError


class Kind(enum.Enum):
    """Why a call of gcloud failed."""

    LOGIN = "nobody is logged in"
    API_OFF = "the API is switched off"
    PROJECT = "no project is named"
    QUOTA = "the quota is used up"
    CAPACITY = "there is no capacity"
    PERMISSION = "a permission is missing"
    NOT_FOUND = "it isn't there"
    EXISTS = "it is there already"
    GONE = "the node is gone or stopped"
    SSH = "the VM can't be reached"
    TRANSIENT = "Google's service didn't answer"
    ARGUMENT = "the request was refused"
    OTHER = "gcloud failed"


@dataclasses.dataclass(frozen=True)
class _Sign:
    kind: Kind
    pattern: str
    mend: str


# In the order they are tried: a message of quota also says RESOURCE_EXHAUSTED, one of an API that is off also
# PERMISSION_DENIED. The texts are those of gcloud 528 and of reports of its users.
_SIGNS = (
    _Sign(
        Kind.LOGIN,
        r"do not currently have an active account|UNAUTHENTICATED|does not have any valid credentials"
        r"|Reauthentication (failed|required)|problem refreshing your current auth tokens|invalid_grant",
        "run 'gcloud auth login', then the same command again",
    ),
    _Sign(
        Kind.API_OFF,
        r"has not been used in project|SERVICE_DISABLED|API \[\S+\] not enabled|is disabled\. Enable it",
        "run 'gcloud services enable tpu.googleapis.com compute.googleapis.com', wait a minute, try again",
    ),
    _Sign(
        Kind.PROJECT,
        r"find attribute \[project\]|required property \[(core/)?project\]",
        "give --project=P, or run 'gcloud config set project P'",
    ),
    _Sign(
        Kind.QUOTA,
        r"[Qq]uota limit '|[Qq]uota '\S+' (exhausted|exceeded)|QUOTA_EXCEEDED|exceeds? (your )?quota"
        r"|Quota exceeded for quota metric",
        "ask for more of the quota that is named (console, IAM & Admin, Quotas), take another zone or a "
        "smaller --type, or delete queued resources that are suspended or failed: they count too",
    ),
    _Sign(
        Kind.CAPACITY,
        r"no more capacity|Insufficient (reserved )?capacity|ZONE_RESOURCE_POOL_EXHAUSTED|[Ss]tockout"
        r"|RESOURCE_EXHAUSTED|not enough resources",
        "wait (--wait), take another zone, or --spot",
    ),
    _Sign(
        Kind.PERMISSION,
        r"PERMISSION_DENIED|[Pp]ermission '[^']+' denied|does not have permission|\b403\b|was denied"
        r"|Permission denied on resource",
        "check --project, and ask for the role TPU Admin (roles/tpu.admin), for ssh also Service Account "
        "User and Compute Viewer",
    ),
    _Sign(
        Kind.GONE,
        r"has (terminal )?state \"",
        "see 'launch/tpu status'",
    ),
    _Sign(
        Kind.EXISTS,
        r"ALREADY_EXISTS|already exists",
        "take another name, or use the VM that is there with --existing",
    ),
    _Sign(
        Kind.NOT_FOUND, r"NOT_FOUND|was not found|could not be found", "check the name, --zone and --project"
    ),
    _Sign(
        Kind.SSH,
        r"exited with return code \[255\]|Connection (refused|reset|closed|timed out)|kex_exchange"
        r"|Host key verif|Could not SSH|Permission denied \(publickey",
        "see that a firewall rule lets tcp:22 in on its network, and that the VM has an external address "
        "(else --internal_ips from inside the network)",
    ),
    _Sign(
        Kind.TRANSIENT,
        r"UNAVAILABLE|DEADLINE_EXCEEDED|INTERNAL\b|Internal error|HTTPError 5\d\d|ly unavailable"
        r"|Unable to find the server|Max retries exceeded|timed out|[Cc]onnection (error|aborted)|ABORTED",
        "try again; see status.cloud.google.com",
    ),
    _Sign(
        Kind.ARGUMENT,
        r"INVALID_ARGUMENT|FAILED_PRECONDITION|Invalid value|unrecognized arguments",
        "change it",
    ),
)


class CloudError(UserError):
    """A call of gcloud that failed, with the mend."""

    def __init__(self, doing: str, kind: Kind, said: str, mend: str):
        """Builds the message: what was done, what gcloud said, and the mend."""
        super().__init__(f"{doing}: {kind.value}\n  gcloud: {said}\n  {mend}")
        self.kind = kind


def classify(text: str) -> tuple[Kind, str]:
    """Returns what a message of gcloud's means, and what mends it."""
    for sign in _SIGNS:
        if re.search(sign.pattern, text):
            return sign.kind, sign.mend
    return Kind.OTHER, "what it says above may help"


def failure(doing: str, text: str) -> CloudError:
    """Returns the error for what gcloud wrote to stderr."""
    kind, mend = classify(text)
    return CloudError(doing, kind, _essence(text), mend)


def _essence(text: str) -> str:
    """Returns the line that begins with ERROR and what follows, on one line, as much as one can read."""
    found = re.search(r"^ERROR: (.*)", text, re.DOTALL | re.MULTILINE)
    words = (found[1] if found else text[-600:]).split()
    line = " ".join(words) or "nothing"
    return line if len(line) <= 600 else line[:600] + " ..."
