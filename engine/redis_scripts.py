"""What Redis is asked to do as one step: the Lua scripts, and nothing of the patience around them.

Every script first looks at the fences. Its first argument is the worker's token, its second the worker's partitions of
`portfolio-updates`, separated by commas: where another engine holds a larger token for one of them, the answer is an
error that begins with FENCED and names the partition. A smaller or missing token is replaced by ours.

Sequences are decimal digits of any length, and compared as such: a number in Lua is exact to 53 bits only.
"""

from __future__ import annotations

from plimsoll import keys

SUPERSEDED_SET_SECONDS = 3600
"""How long an old scenario set stays, for whoever still holds a snapshot made under it."""
HEAD_SIZE = 256
"""Bytes of a stored snapshot that surely hold its first four fields."""

_COMMON = f"""
local function newer(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end
local function head_of(snapshot)
  return string.match(snapshot,
    '^{{"sequence":"(%d+)","advisor_id":"([^"]+)","source_partition":(%d+),"portfolio_id":"([^"]+)"')
end
local function stored(id)
  return head_of(redis.call('GETRANGE', '{keys.risk("")}' .. id, 0, {HEAD_SIZE}))
end
local function leave(id, advisor)
  redis.call('ZREM', '{keys.by_risk("")}' .. advisor, id)
  redis.call('ZREM', '{keys.by_id("")}' .. advisor, id)
  if redis.call('EXISTS', '{keys.by_id("")}' .. advisor) == 0 then redis.call('ZREM', '{keys.ADVISORS}', advisor) end
end
local function fenced(token, partitions)
  for partition in string.gmatch(partitions, '%d+') do
    local taken = redis.call('HGET', '{keys.FENCES}', partition)
    if taken and newer(taken, token) then return partition end
    if taken ~= token then redis.call('HSET', '{keys.FENCES}', partition, token) end
  end
end
local superseded = fenced(ARGV[1], ARGV[2])
if superseded then return redis.error_reply('FENCED ' .. superseded) end
"""

WRITE = f"""{_COMMON}
local points_max = ARGV[3]
-- One command for many: calling one costs more than what most of them do.
local sequences, advisors, partitions, ids, names = {{}}, {{}}, {{}}, {{}}, {{}}
for i = 4, #ARGV, 5 do
  local n = #ids + 1
  sequences[n], advisors[n], partitions[n], ids[n] = head_of(ARGV[i])
  names[n] = '{keys.risk("")}' .. ids[n]
end
if #ids == 0 then return {{}} end
local held, advisors_held, partitions_held, unknown, closed = {{}}, {{}}, {{}}, {{}}, {{}}
for n, snapshot in ipairs(redis.call('MGET', unpack(names))) do
  if snapshot then held[n], advisors_held[n], partitions_held[n] = head_of(snapshot) end
  if not held[n] then unknown[#unknown + 1] = ids[n] end
end
if #unknown > 0 then
  for k, sequence in ipairs(redis.call('HMGET', '{keys.CLOSED}', unpack(unknown))) do closed[unknown[k]] = sequence end
end

local strings, by_risk, by_id, elsewhere = {{}}, {{}}, {{}}, {{}}
local said, order, channels = {{}}, {{}}, {{}}
local function add(list, first, second)
  local count = #list
  list[count + 1] = first
  list[count + 2] = second
end
local function of(advisor)
  local batch = said[advisor]
  if not batch then
    batch = {{snapshots = {{}}, by_risk = {{}}}}
    said[advisor] = batch
    order[#order + 1] = advisor
    channels[#channels + 1] = '{keys.risk_channel("")}' .. advisor
  end
  return batch
end
for n, id in ipairs(ids) do
  local i = 5 * n - 1
  local snapshot, score, positions, judged, minute = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local sequence, advisor = sequences[n], advisors[n]
  local had, advisor_had, partition_had = held[n], advisors_held[n], partitions_held[n]
  if had and partitions[n] ~= partition_had then add(elsewhere, id, tonumber(partition_had)) end
  local floor = had or closed[id]
  if not floor or newer(sequence, floor) then
    local batch = of(advisor)
    add(strings, names[n], snapshot)
    add(by_risk, score, id)
    add(batch.by_risk, score, id)
    if positions ~= '' then add(strings, '{keys.portfolio("")}' .. id, positions) end
    if judged ~= '' then add(strings, '{keys.backtest("")}' .. id, judged) end
    if floor and not had then redis.call('HDEL', '{keys.CLOSED}', id) end
    if not had or advisor_had ~= advisor or positions ~= '' then
      add(by_id, 0, id)
      batch.by_id = batch.by_id or {{}}
      add(batch.by_id, 0, id)
    end
    if advisor_had and advisor_had ~= advisor then
      leave(id, advisor_had)
      local left = of(advisor_had)
      left.moved = left.moved or {{}}
      left.moved[#left.moved + 1] = '{{"portfolio_id":"' .. id .. '","advisor_id":"' .. advisor .. '"}}'
    end
    if minute ~= '0' then
      -- A snapshot begins with what history keeps of it. The entry's id is its minute, so a repeated point is refused:
      -- an error that says it is there already.
      local beginning = string.find(snapshot, ',"client_id":', 1, true)
      local point = string.sub(snapshot, 1, beginning - 1) .. '}}'
      redis.pcall('XADD', '{keys.history("")}' .. id, 'MAXLEN', '~', points_max, minute .. '-0', 'point', point)
    end
    batch.snapshots[#batch.snapshots + 1] = snapshot
  end
end
if #strings == 0 then return elsewhere end

redis.call('MSET', unpack(strings))
redis.call('ZADD', '{keys.by_risk()}', unpack(by_risk))
if #by_id > 0 then redis.call('ZADD', '{keys.by_id()}', unpack(by_id)) end
local everyone = redis.call('PUBSUB', 'NUMPAT') > 0
local listeners = redis.call('PUBSUB', 'NUMSUB', unpack(channels))
local joined = {{}}
for k, advisor in ipairs(order) do
  local batch = said[advisor]
  if #batch.by_risk > 0 then redis.call('ZADD', '{keys.by_risk("")}' .. advisor, unpack(batch.by_risk)) end
  if batch.by_id then
    redis.call('ZADD', '{keys.by_id("")}' .. advisor, unpack(batch.by_id))
    add(joined, 0, advisor)
  end
  -- What nobody listens to is not put together.
  if everyone or listeners[2 * k] > 0 then
    local snapshots, moved = table.concat(batch.snapshots, ','), table.concat(batch.moved or {{}}, ',')
    redis.call('PUBLISH', channels[k], '{{"snapshots":[' .. snapshots .. '],"moved":[' .. moved .. ']}}')
  end
end
if #joined > 0 then redis.call('ZADD', '{keys.ADVISORS}', unpack(joined)) end
return elsewhere
"""
"""ARGV: the worker's token, and its partitions separated by commas, as in every script; history points kept; for each
portfolio snapshot, score, positions, backtest, and minute.

Returns, flat, each portfolio whose stored snapshot came through another partition, and which."""

CLOSE = f"""{_COMMON}
for i = 3, #ARGV, 2 do
  local id, sequence = ARGV[i], ARGV[i + 1]
  local had, advisor = stored(id)
  if not had or newer(sequence, had) then
    redis.call('HSET', '{keys.CLOSED}', id, sequence)
    redis.call('DEL', '{keys.risk("")}' .. id, '{keys.portfolio("")}' .. id, '{keys.history("")}' .. id,
      '{keys.backtest("")}' .. id)
    redis.call('ZREM', '{keys.by_risk()}', id)
    redis.call('ZREM', '{keys.by_id()}', id)
    if advisor then
      leave(id, advisor)
      redis.call('PUBLISH', '{keys.risk_channel("")}' .. advisor, '{{"closed":["' .. id .. '"]}}')
    end
  end
end
return redis.status_reply('OK')
"""
"""ARGV: token and partitions; for each portfolio id, sequence of its closing."""

SERVE = f"""{_COMMON}
local current = redis.call('GET', '{keys.CURRENT_SCENARIO_SET}')
redis.call('SET', '{keys.scenario_set("")}' .. ARGV[3], ARGV[4])
-- An id begins with its session, so a worker that lags cannot put an older session back. One whose day has not come was
-- made of a close that is refused now, and would be the newest until then.
local session = current and string.sub(current, 1, 10)
if not current or string.sub(ARGV[3], 1, 10) >= session or session > ARGV[5] then
  redis.call('SET', '{keys.CURRENT_SCENARIO_SET}', ARGV[3])
  if current and current ~= ARGV[3] then
    redis.call('EXPIRE', '{keys.scenario_set("")}' .. current, {SUPERSEDED_SET_SECONDS})
  end
end
return redis.status_reply('OK')
"""
"""ARGV: token and partitions; scenario set id, the set as JSON, the newest day that there can be."""

PUT = f"""{_COMMON}
local new = 0
for i = 3, #ARGV, 3 do
  local key, field, value = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if value == '' then redis.call('HDEL', key, field) else new = new + redis.call('HSET', key, field, value) end
end
return new
"""
"""ARGV: token and partitions; for each entry of a hash key, field, value; an empty value takes the entry out.

Returns how many entries were not there before."""
