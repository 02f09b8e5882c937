"""What is served, and to whom."""

import dataclasses

from tinyjax.sample.model import Model
from tinyjax.serve.teller import Teller


@dataclasses.dataclass(frozen=True)
class Service:
    """What is served, and to whom."""

    model: Model
    teller: Teller
    name: str  # of the model
    api_key: str = ""  # empty: none is needed
    hosts: tuple[str, ...] = ()  # names that the server answers to; none: to all
    origins: tuple[str, ...] = ()  # of other pages that may use it; "localhost": any page of this machine
