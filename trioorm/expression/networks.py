"""Functions and operators of network addresses: `networks.within(Host.address, ip_network("10.0.0.0/8"))`.

Source: PostgreSQL manual, section 9.12.
"""

from __future__ import annotations

import ipaddress
from typing import Any, TypeAlias

from trioorm.expression import building
from trioorm.expression.expression import Expression, Operation
from trioorm.expression.shape import Binary, Function
from trioorm.expression.types import BOOLEAN, CIDR, INET, INTEGER, TEXT, IpAddress, IpNetwork, SqlType

Place: TypeAlias = Expression[IpAddress] | Expression[IpNetwork] | Expression[IpAddress | None] | Expression[IpNetwork | None]
Given: TypeAlias = IpAddress | IpNetwork | Place


def within(address: Place, network: Given) -> Expression[bool]:
    """Whether an address or network lies in a network, or is the same (`<<=`)."""
    return _asked("<<=", address, network)


def strictly_within(address: Place, network: Given) -> Expression[bool]:
    """Whether an address or network lies in a larger network (`<<`)."""
    return _asked("<<", address, network)


def holds(network: Place, address: Given) -> Expression[bool]:
    """Whether a network holds an address or network, or is the same (`>>=`)."""
    return _asked(">>=", network, address)


def overlap(a: Place, b: Given) -> Expression[bool]:
    """Whether one holds the other (`&&`)."""
    return _asked("&&", a, b)


def version(address: Place) -> Expression[int]:
    """4 or 6."""
    return _function("family", address, INTEGER)


def mask_length(address: Place) -> Expression[int]:
    """How many bits the network has."""
    return _function("masklen", address, INTEGER)


def host(address: Place) -> Expression[str]:
    """The address as text, without its network."""
    return _function("host", address, TEXT)


def network(address: Place) -> Expression[IpNetwork]:
    """The network of an address."""
    return _function("network", address, CIDR)


def broadcast(address: Place) -> Expression[IpAddress]:
    """The broadcast address of its network."""
    return _function("broadcast", address, INET)


def _asked(operator: str, left: Expression[Any], right: object) -> Expression[bool]:
    building.require_family(left, operator, ("inet",), "an address or network")
    kind = CIDR if isinstance(right, (ipaddress.IPv4Network, ipaddress.IPv6Network)) else INET
    shape, values = building.place_of(right, kind, of=left)
    return Operation(Binary(operator, left.operand(), shape), left.bind_values + values, BOOLEAN)


def _function(name: str, of: Expression[Any], result: SqlType) -> Expression[Any]:
    building.require_family(of, f"{name}()", ("inet",), "an address or network")
    return Operation(Function(name, (of.operand(),)), of.bind_values, result)
