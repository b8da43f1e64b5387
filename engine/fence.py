"""Who may write: the newest engine that took a partition, and nobody before it.

An engine that was thought dead may come back (a machine that was suspended, a network that healed) while another has
taken its place. Versions keep it from overwriting newer results; the fence keeps it from writing at all, and tells it
so that it ends. A token is a number that only grows: the time in nanoseconds, or one more than the largest there is.

Tokens are decimal strings in Redis and compared as such. They fit 63 bits, and a number in Lua holds 53.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis
from typing_extensions import override

from plimsoll import keys
from plimsoll.errors import EXIT_SUPERSEDED, PlimsollError


class Fenced(PlimsollError):
    """Another engine has taken over what this one owned. It ends and is not started again."""

    lasting = True

    def __init__(self, partition: int) -> None:
        super().__init__(
            f"another engine has taken partition {partition} of portfolio-updates; this one stops. If it is the one "
            "that should run, stop the other and start it again"
        )
        self.partition = partition

    @property
    @override
    def exit_code(self) -> int:
        return EXIT_SUPERSEDED


_TAKE = f"""
local function newer(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end
local function successor(number)
  local nines = #string.match(number, '9*$')
  local head = string.sub(number, 1, #number - nines)
  if head == '' then head = '0' end
  return string.sub(head, 1, -2) .. string.char(string.byte(head, -1) + 1) .. string.rep('0', nines)
end
local token = ARGV[1]
for _, stored in ipairs(redis.call('HVALS', '{keys.FENCES}')) do
  if not newer(token, stored) then token = successor(stored) end
end
for i = 2, #ARGV do redis.call('HSET', '{keys.FENCES}', ARGV[i], token) end
return token
"""
"""ARGV: the least token, then each partition to take."""


def take(client: redis.Redis, partitions: Sequence[int], now_ns: int) -> int:
    """Take these partitions of `portfolio-updates` from whoever has them; the token to write with.

    It is larger than every token there is, and at least `now_ns`. Errors of `redis` pass through: try again, a second
    token harms nobody.
    """
    token = client.register_script(_TAKE)(args=[now_ns, *partitions])
    return int(token)
