#!lua
-- Opens a request: checks everything, then writes everything (Redis does not roll a script back).
-- Refused when memory is full (no allow-oom): new work waits, running work ends.
-- KEYS  1 open record  2 leases  3 meta  4 key row, then for each limit: its definition, its counters
-- ARGV  1 request id  2 owner  3 key version  4 lease ms
--       5 full  6 assumed  7 least  8 ample factor        (the hold, nano-USD)
--       9 latest window start  10 earliest window end  11 every limit's window start and end, spaced
--       12 payload  13 '1' when the caller repeats an open whose answer it lost
-- Times are ms of Redis' own clock. Amounts are strings outside and doubles <= 2^53-1 inside, and are only
-- ever written with %.0f: tostring and .. lose digits beyond the 14th. (Redis itself writes a number with
-- %.17g, so times go as they are.) A call into Redis costs about 1 us and an argument 0.2, so few of both.
local call, tonumber, KEYS, ARGV = redis.call, tonumber, KEYS, ARGV
local FOREVER, RETENTION_MS = 9007199254740991, 3456000000 -- 40 days
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if call('EXISTS', KEYS[1]) == 1 then
  local was = ARGV[13] == '1' and redis.pcall('HMGET', KEYS[1], 'owner', 'held', 'at', 'rows')
  if was and not was.err and was[1] == ARGV[2] then return {'OK', was[2], was[3], '', was[4]} end
  return {'EXISTS'}
end

local key = call('HMGET', KEYS[4], 'st', 'ver', 'exp')
if not key[1] then return {'COLD'} end
if key[1] ~= 'active' then return {'REVOKED'} end
if key[3] and key[3] ~= '' and tonumber(key[3]) <= now then return {'EXPIRED'} end
if key[2] ~= ARGV[3] then return {'STALE'} end

local since = call('HGET', KEYS[3], 'complete_since')
if not since then return {'COLD'} end
if now < tonumber(ARGV[9]) or now >= tonumber(ARGV[10]) then return {'PERIOD', string.format('%.0f', now)} end

local fresh                              -- rows that nobody has written yet
local free, unheld, tightest, emptiest   -- over hard rows: least free, least free but for others' holds
for i = 6, #KEYS, 2 do
  local definition = call('HMGET', KEYS[i - 1], 'value', 'enforcement')
  local counters = call('HMGET', KEYS[i], 'spent', 'reserved', 'doubted')
  if not definition[1] then return {'COLD'} end
  if not (counters[1] or counters[2] or counters[3]) then
    fresh = fresh or {}
    fresh[#fresh + 1] = i
  end
  if definition[2] == 'hard' then
    local value, spent = tonumber(definition[1]), tonumber(counters[1] or '0')
    local rest = value - spent
    if counters[3] then rest = rest - tonumber(counters[3]) end
    local left = rest
    if counters[2] then left = rest - tonumber(counters[2]) end
    if not free or left < free then free, tightest = left, i end
    if not unheld or rest < unheld then unheld, emptiest = rest, i end
  end
end

local bounds
if fresh then
  -- Zero only if nothing can have been counted on the row before the ledger was whole.
  bounds = {}
  for bound in string.gmatch(ARGV[11], '%d+') do bounds[#bounds + 1] = tonumber(bound) end
  for _, i in ipairs(fresh) do
    local created = call('HGET', KEYS[i - 1], 'created')
    if bounds[i - 5] < tonumber(since) and tonumber(created or '0') < tonumber(since) then return {'COLD'} end
  end
end

local held, remaining = ARGV[5], ''
if free then
  local full, assumed, least = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local need = full
  if least ~= full and free < tonumber(ARGV[8]) * full and not (assumed == full and free >= full) then
    -- Nobody named a maximum and the whole ceiling is not small change here: hold less, and say so.
    if free >= assumed then need, held = assumed, ARGV[6]
    elseif free >= least then need, held = free, string.format('%.0f', free)
    else need = least end
  end
  if free < need then
    local reason, i = 'BUSY', tightest
    if unheld < least then reason, i = 'EXHAUSTED', emptiest end
    local counters = call('HMGET', KEYS[i], 'spent', 'reserved', 'doubted')
    local value, spent = call('HGET', KEYS[i - 1], 'value'), counters[1] or '0'
    local left = tonumber(value) - tonumber(spent) - tonumber(counters[2] or '0') - tonumber(counters[3] or '0')
    return {reason, string.format('%.0f', (i - 4) / 2), value, spent, string.format('%.0f', left)}
  end
  remaining = string.format('%.0f', free - need)
end

local rows = {}
for i = 6, #KEYS, 2 do
  rows[#rows + 1] = KEYS[i]
  call('HINCRBY', KEYS[i], 'reserved', held)
end
for _, i in ipairs(fresh or {}) do
  local window_end = bounds[i - 4]
  if window_end < FOREVER then call('PEXPIREAT', KEYS[i], window_end + RETENTION_MS) end
end
call('HSET', KEYS[1], 'owner', ARGV[2], 'held', held, 'at', now, 'rows', table.concat(rows, ' '),
  'payload', ARGV[12])
call('ZADD', KEYS[2], now + tonumber(ARGV[4]), ARGV[1])
return {'OK', held, string.format('%.0f', now), remaining}
