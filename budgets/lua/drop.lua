#!lua flags=allow-oom
-- Ends open records of requests whose events exist already: the server lost their close, and the record has it.
-- Nothing is settled: only who makes the shard whole does this, and writes what rows have spent.
-- KEYS  1 seeding  2 leases, then the open records
-- ARGV  1 token  2 marker ms  3 prefix of the shard's names, then each request id
-- Answers LOST (another has the lock) or how many there were.
local call, KEYS, ARGV, ROW = redis.call, KEYS, ARGV, '<i8i8i8'
-- use: each_hold
if call('GET', KEYS[1]) ~= ARGV[1] then return 'LOST' end
local function free(hash, row, amount)
  local content = call('HGET', hash, row)
  if content and #content == 24 then
    local s, r, d = struct.unpack(ROW, content)
    call('HSET', hash, row, struct.pack(ROW, s, math.max(0, r - amount), d))
  end
end
local dropped = 0
for k = 3, #KEYS do
  local record = redis.pcall('HMGET', KEYS[k], 'rows', 'held', 'meters', 'owner')
  if not record.err and record[4] then
    if record[1] and record[1] ~= '' then each_hold(record, ARGV[3], free) end
    call('SET', KEYS[k], 'recorded', 'PX', ARGV[2])
    dropped = dropped + 1
  end
  call('ZREM', KEYS[2], ARGV[k + 1])
end
return dropped
