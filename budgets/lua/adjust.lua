#!lua flags=allow-oom
-- Adds to what rows say is spent and doubted: a correction of one event, or of rows that have drifted.
-- KEYS  1 marker  2 outbox  3 meta, then each row's hash (a hash may come again)
-- ARGV  1 marker ms (0: none)  2 entry for the outbox ('' none)  3 '1' when a row that is missing is to be made
--       then for each row: its name, what to add to spent, and to doubted (decimal, may be negative), and when
--       its hash expires (ms; 0 never, -1 40 days from now)
-- Answers OK, DONE (the marker was there: nothing changes) or COLD (the shard is not whole; what makes it so
-- will count the outbox, so only the entry is written).
local call, tonumber, KEYS, ARGV = redis.call, tonumber, KEYS, ARGV
local ROW, MOST, RETENTION_MS = '<i8i8i8', 9007199254740991, 3456000000 -- 40 days
if ARGV[1] ~= '0' and call('EXISTS', KEYS[1]) == 1 then return 'DONE' end
local whole = call('HEXISTS', KEYS[3], 'complete_since') == 1
local function bounded(amount) return math.max(0, math.min(amount, MOST)) end
if whole then
  for i = 4, #KEYS do
    local at = 4 + 4 * (i - 4)
    local row, ends = call('HGET', KEYS[i], ARGV[at]), ARGV[at + 3]
    if row or ARGV[3] == '1' then
      local s, r, d = 0, 0, 0
      if row and #row == 24 then s, r, d = struct.unpack(ROW, row) end
      s, d = bounded(s + tonumber(ARGV[at + 1])), bounded(d + tonumber(ARGV[at + 2]))
      call('HSET', KEYS[i], ARGV[at], struct.pack(ROW, s, r, d))
      if not row and ends ~= '0' and call('PTTL', KEYS[i]) == -1 then
        if ends == '-1' then call('PEXPIRE', KEYS[i], RETENTION_MS)
        else call('PEXPIREAT', KEYS[i], tonumber(ends) + RETENTION_MS) end
      end
    end
  end
end
if ARGV[2] ~= '' then call('XADD', KEYS[2], '*', 'a', ARGV[2]) end
if ARGV[1] ~= '0' then call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return whole and 'OK' or 'COLD'
