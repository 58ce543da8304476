#!lua
-- Opens a request: checks everything, then writes everything (Redis does not roll a script back).
-- Refused when memory is full (no allow-oom): new work waits, running work ends.
-- KEYS  1 open record  2 leases  3 meta  4 key row  5 values of limits, then the hashes that hold the rows,
--       then the customer's row when ARGV[6] is not empty
-- ARGV  1 request id  2 owner  3 key version  4 name and 5 version of the account's list of limits
--       6 version of the customer's own list ('0': it has none; '': not asked)
--       7 run id of the server that the caller is connected to  8 lease ms
--       9 latest window start, earliest window end (ms), the number of the hash that expires 40 days after its last
--       use (0: none), then each hash's end (ms; 0: never)
--       10 '1' when the caller repeats an open whose answer it lost  11 payload  12 rows, as the record keeps them
--       13 meters, a letter each  14 shape: three characters for each row: the place of its hash ('0' the
--       first), its meter, its enforcement (h, s or w)
--       15 ample factor, then for each meter: full, assumed, least  16 held: the full amounts, spaced
--       17 position of the first row's name  18... each row's limit id; each row's name, where it is not the same
--       9 and 15 are int64, little-endian.
-- Times are ms of Redis' own clock. Amounts are int64 in rows and doubles <= 2^53-1 inside; they are only ever
-- written by struct.pack or %.0f, or answered as integers: tostring and .. lose digits beyond the 14th.
-- Thousands of instructions: a call into Redis 4 to 15, a new table 3, a number read or written as text 2 to
-- 6, an argument 1. So few of each.
local call, tonumber, KEYS, ARGV = redis.call, tonumber, KEYS, ARGV
local byte, pack, unpacked = string.byte, struct.pack, struct.unpack
local ROW, MINUTE_US, RETENTION_MS = '<i8i8i8', 60000000, 3456000000 -- 40 days
local time = call('TIME')
local at = time[1] .. string.sub('00000' .. time[2], -6, -4)
local now = tonumber(at)

if call('EXISTS', KEYS[1]) == 1 then
  local was = ARGV[10] == '1' and redis.pcall('HMGET', KEYS[1], 'owner', 'held', 'at', 'rows', 'meters')
  if was and not was.err and was[1] == ARGV[2] then
    return {'OK', was[2], was[3], '', '', was[4], was[5]}
  end
  return {'EXISTS'}
end

local meta = call('HMGET', KEYS[3], 'complete_since', 'run_id', ARGV[4])
if not meta[1] or meta[2] ~= ARGV[7] then return {'COLD'} end
local key = call('HMGET', KEYS[4], 'st', 'ver', 'exp')
if not key[1] then return {'COLD'} end
if key[1] ~= 'active' then return {'REVOKED'} end
if key[3] and key[3] ~= '' and tonumber(key[3]) <= now then return {'EXPIRED'} end
-- A caller may have read the newer document before its version arrived here; only an older one is stale.
local function stale(copy, version)
  return version and version ~= copy and tonumber(version) > tonumber(copy)
end
if stale(ARGV[3], key[2]) or stale(ARGV[5], meta[3])
  or ARGV[6] ~= '' and stale(ARGV[6], call('HGET', KEYS[#KEYS], 'ver')) then return {'STALE'} end
local start_ms, end_ms, used = unpacked('<i8i8i8', ARGV[9])
if now < start_ms or now >= end_ms then return {'PERIOD', at} end

local shape = {byte(ARGV[14], 1, -1)}
local rows, M, amounts = #shape / 3, #ARGV[13], ARGV[15]
local NAMES = tonumber(ARGV[17]) - 1
local place = {}                        -- meter letter -> its place
for m = 1, M do place[byte(ARGV[13], m)] = m end

local values = rows > 0 and call('HMGET', KEYS[5], unpack(ARGV, 18, 17 + rows))
local read, fresh = {}, nil             -- what the rows hold; hashes that hold none of our rows yet
local first = 1
while first <= rows do
  local h, last, some = shape[3 * first - 2], first, false
  while shape[3 * last + 1] == h do last = last + 1 end
  if last == first then
    some = call('HGET', KEYS[h - 42], ARGV[NAMES + first])
    read[first] = some
  else
    local found = call('HMGET', KEYS[h - 42], unpack(ARGV, NAMES + first, NAMES + last))
    for i = first, last do
      local row = found[i - first + 1]
      read[i] = row
      some = some or row
    end
  end
  if not some then
    fresh = fresh or {}
    fresh[#fresh + 1] = h
  end
  first = last + 1
end

local free, unheld = {}, {}             -- by meter, over hard rows: least free, least unheld
local late_ms, late, us = 0, nil, nil   -- a hard rate that has to wait longest
local over = ''                         -- rows that would refuse if they were hard
local known, least                      -- the meter whose least amount this is
for i = 1, rows do
  local letter, enforcement, value = shape[3 * i - 1], shape[3 * i], tonumber(values[i] or nil)
  local m = place[letter]
  if not value then return {'COLD'} end
  if letter == 113 or letter == 107 then -- q and k: rates
    us = us or time[1] * 1000000 + time[2]
    local arrival = math.max(tonumber(read[i] or '0'), us)
      + math.min(math.ceil(unpacked('<i8', amounts, 24 * m - 15) * MINUTE_US / value), MINUTE_US)
    local wait_ms = math.ceil((arrival - us - MINUTE_US) / 1000)
    if wait_ms <= 0 then
      read[i] = arrival
    elseif enforcement ~= 104 then      -- it goes on, and counts as a hard rate would: what is refused does not
      over = over .. i .. ' '
    elseif wait_ms > late_ms then
      late_ms, late = wait_ms, i
    end
  else
    local s, r, d = 0, 0, 0
    if read[i] then s, r, d = unpacked(ROW, read[i]) end
    local rest = value - s - d
    if enforcement == 104 then          -- h: hard
      if not free[m] or rest - r < free[m] then free[m] = rest - r end
      if not unheld[m] or rest < unheld[m] then unheld[m] = rest end
    else
      if known ~= m then known, least = m, unpacked('<i8', amounts, 24 * m + 1) end
      if rest - r < least then over = over .. i .. ' ' end
    end
  end
end

-- The hold of each meter. What keeps it out for good is told before what others hold, and that before a rate.
local needs, reduced, busy = {}, false, nil
for m = 1, M do
  local full, assumed, least = unpacked(ROW, amounts, 24 * m - 15)
  local need, left = full, free[m]
  if left then
    if least ~= full and left < unpacked('<i8', amounts) * full and not (assumed == full and left >= full) then
      -- Nobody named a maximum and the whole ceiling is not small change here: hold less, and say so.
      if left >= assumed then need = assumed
      elseif left >= least then need = left
      else need = least end
      reduced = true
    end
    if left < need then
      local refusal
      for i = rows, 1, -1 do            -- the first row that leaves no more
        if place[shape[3 * i - 1]] == m and shape[3 * i] == 104 then
          local s, r, d = 0, 0, 0
          if read[i] then s, r, d = unpacked(ROW, read[i]) end
          local rest = values[i] - s - d
          if unheld[m] < least and rest == unheld[m] then refusal = {'EXHAUSTED', i, values[i], s, rest - r}
          elseif unheld[m] >= least and rest - r == left then refusal = {'BUSY', i, values[i], s, rest - r} end
        end
      end
      refusal[6] = ''
      if refusal[1] == 'EXHAUSTED' then return refusal end
      busy = busy or refusal
    end
  end
  needs[m] = need
end
if busy then
  local oldest = call('ZRANGE', KEYS[2], '0', '0', 'WITHSCORES')
  if oldest[2] then busy[6] = math.max(0, oldest[2] - now) end
  return busy
end
if late then return {'RATE', late, values[late], 0, 0, late_ms} end

local written, n = {}, 0                -- names and contents of one hash' rows
for i = 1, rows do
  local h, letter, row = shape[3 * i - 2], shape[3 * i - 1], read[i]
  if letter ~= 113 and letter ~= 107 then
    local s, r, d = 0, 0, 0
    if row then s, r, d = unpacked(ROW, row) end
    row = pack(ROW, s, r + needs[place[letter]], d)
  end
  written[n + 1], written[n + 2] = ARGV[NAMES + i], row
  n = n + 2
  if shape[3 * i + 1] ~= h then
    call('HSET', KEYS[h - 42], unpack(written, 1, n))
    n = 0
  end
end
if used > 0 then call('PEXPIRE', KEYS[5 + used], RETENTION_MS) end
for _, h in ipairs(fresh or {}) do
  local ends = unpacked('<i8', ARGV[9], 8 * (h - 48) + 25)
  if ends > 0 and call('PTTL', KEYS[h - 42]) == -1 then call('PEXPIREAT', KEYS[h - 42], ends + RETENTION_MS) end
end
local money = place[109]                -- m
local remaining = money and free[money] and free[money] - needs[money] or ''
local held = ARGV[16]
if reduced then
  for m = 1, M do needs[m] = string.format('%.0f', needs[m]) end
  held = table.concat(needs, ' ')
end
call('HSET', KEYS[1], 'owner', ARGV[2], 'held', held, 'at', at, 'rows', ARGV[12], 'meters', ARGV[13],
  'payload', ARGV[11])
call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[8]), ARGV[1])
return {'OK', held, at, remaining, over}
