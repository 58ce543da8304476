#!lua flags=allow-oom
-- Puts a running request back that the server does not know (its memory was lost, or it was away at the
-- opening): its record, its lease, and its holds, whatever the limits say, because it is running.
-- KEYS  1 open record  2 leases, then the rows' hashes
-- ARGV  1 request id  2 owner  3 lease ms  4 opened at (ms)  5 held, spaced  6 rows, as the record keeps them
--       7 payload  8 cost so far (nano-USD)  9 meters  10 shape (see open.lua)
--       11... for each hash: its end (ms; 0 never, -1 40 days from now); each row's name
-- Answers OK, or LOST (it has ended, or is another's).
local call, tonumber, KEYS, ARGV = redis.call, tonumber, KEYS, ARGV
local byte, ROW, RETENTION_MS = string.byte, '<i8i8i8', 3456000000
local owner = redis.pcall('HGET', KEYS[1], 'owner')
if type(owner) == 'table' then return 'LOST' end -- the marker of one that has ended
if owner then return owner == ARGV[2] and 'OK' or 'LOST' end

local meters, shape, hashes = ARGV[9], ARGV[10], #KEYS - 2
local rows, NAMES = #shape / 3, 10 + hashes
local place, amounts = {}, {}
for m = 1, #meters do place[byte(meters, m)] = m end
for amount in string.gmatch(ARGV[5], '%d+') do amounts[#amounts + 1] = tonumber(amount) end
for i = 1, rows do
  local h, letter = byte(shape, 3 * i - 2, 3 * i - 1)
  if letter ~= 113 and letter ~= 107 then
    local hash, name = KEYS[h - 45], ARGV[NAMES + i]
    local row = call('HGET', hash, name)
    local s, r, d = 0, 0, 0
    if row then s, r, d = struct.unpack(ROW, row) end
    call('HSET', hash, name, struct.pack(ROW, s, r + amounts[place[letter]], d))
  end
end
for h = 1, hashes do
  local ends = ARGV[10 + h]
  if ends == '-1' then call('PEXPIRE', KEYS[2 + h], RETENTION_MS)
  elseif ends ~= '0' and call('PTTL', KEYS[2 + h]) == -1 then
    call('PEXPIREAT', KEYS[2 + h], tonumber(ends) + RETENTION_MS)
  end
end
local time = call('TIME')
call('HSET', KEYS[1], 'owner', ARGV[2], 'held', ARGV[5], 'at', ARGV[4], 'rows', ARGV[6], 'meters', meters,
  'payload', ARGV[7], 'ck', ARGV[8])
call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[3]), ARGV[1])
return 'OK'
