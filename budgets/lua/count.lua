#!lua flags=allow-oom
-- Counts what is recorded already (events that were reported after the fact) on rows, once, whatever the limits
-- say: the money is spent. Says which hard limits are passed now.
-- KEYS  1 marker  2 outbox  3 meta  4 values of limits  5 notices, then each row's hash (a hash may come again)
-- ARGV  1 marker ms  2 entry for the outbox  3 account
--       then for each row: its name, its value's name, what to add to spent, when its hash expires (ms; 0 never,
--       -1 40 days from now), three characters: 1 where a missing row is to be made, the enforcement (h, s or w),
--       and rising percents with commas
-- Answers {OK, DONE (it had been counted: nothing changes) or COLD (the shard is not whole; what makes it so will
-- count the entry), the numbers of the rows whose hard limit is passed}.
local call, tonumber, KEYS, ARGV = redis.call, tonumber, KEYS, ARGV
local ROW, MOST, RETENTION_MS, WIDTH = '<i8i8i8', 9007199254740991, 3456000000, 5 -- 40 days
if call('HEXISTS', KEYS[3], 'complete_since') == 0 then
  if call('SET', KEYS[1], '1', 'PX', ARGV[1], 'NX') then call('XADD', KEYS[2], '*', 'c', ARGV[2]) end
  return {'COLD', {}}
end
local done = call('EXISTS', KEYS[1]) == 1
local passed = {}
for i = 1, #KEYS - 5 do
  local at = 4 + WIDTH * (i - 1)
  local hash, name, marks = KEYS[5 + i], ARGV[at], ARGV[at + 4]
  local row, value = call('HGET', hash, name), tonumber(call('HGET', KEYS[4], ARGV[at + 1]) or nil)
  local s, r, d = 0, 0, 0
  if row and #row == 24 then s, r, d = struct.unpack(ROW, row) end
  if not done and (row or string.sub(marks, 1, 1) == '1') then
    s = math.min(s + tonumber(ARGV[at + 2]), MOST)
    call('HSET', hash, name, struct.pack(ROW, s, r, d))
    local ends = ARGV[at + 3]
    if ends == '-1' then call('PEXPIRE', hash, RETENTION_MS)
    elseif ends ~= '0' and call('PTTL', hash) == -1 then call('PEXPIREAT', hash, tonumber(ends) + RETENTION_MS) end
    local told, crossed = nil, nil
    for mark in string.gmatch(string.sub(marks, 3), '%d+') do
      told = told or tonumber(call('HGET', hash, '!' .. name) or '0')
      if value and tonumber(mark) > told and s * 100 >= tonumber(mark) * value then crossed = mark end
    end
    if crossed then
      local time = call('TIME')
      call('HSET', hash, '!' .. name, crossed)
      call('XADD', KEYS[5], '*', 'account', ARGV[3], 'limit', ARGV[at + 1], 'row', name,
        'percent', crossed, 'spent', string.format('%.0f', s), 'value', string.format('%.0f', value),
        'at', time[1] * 1000 + math.floor(time[2] / 1000))
    end
  end
  if value and string.sub(marks, 2, 2) == 'h' and s + d > value then passed[#passed + 1] = i end
end
if done then
  call('PEXPIRE', KEYS[1], ARGV[1]) -- who asks again may ask once more
else
  call('SET', KEYS[1], '1', 'PX', ARGV[1])
  call('XADD', KEYS[2], '*', 'c', ARGV[2])
end
return {done and 'DONE' or 'OK', passed}
