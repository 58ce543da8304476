#!lua flags=allow-oom
-- Holds more for an open request, on every row or on none.
-- KEYS  1 open record  2 values of limits  3 meta, then the rows' hashes
-- ARGV  1 owner  2 run id of the server that the caller is connected to  3 meters  4 shape (see open.lua)
--       5... for each meter: extra; each row's limit id; each row's name
-- Answers OK, NO (a hard limit has not that much free), COLD or LOST (closed, reaped, or another's).
local call, tonumber, KEYS, ARGV = redis.call, tonumber, KEYS, ARGV
local byte, ROW = string.byte, '<i8i8i8'
local record = redis.pcall('HMGET', KEYS[1], 'owner', 'held')
if record.err or record[1] ~= ARGV[1] then return 'LOST' end
local meta = call('HMGET', KEYS[3], 'complete_since', 'run_id')
if not meta[1] or meta[2] ~= ARGV[2] then return 'COLD' end
local meters, shape = ARGV[3], ARGV[4]
local rows, M = #shape / 3, #meters
local IDS = 4 + M
local place = {}
for m = 1, M do place[byte(meters, m)] = m end

local written = {}
for i = 1, rows do
  local h, letter, enforcement = byte(shape, 3 * i - 2, 3 * i)
  local extra = tonumber(ARGV[4 + place[letter]])
  if extra > 0 and letter ~= 113 and letter ~= 107 then -- rates hold nothing
    local hash, name = KEYS[h - 44], ARGV[IDS + rows + i]
    local row = call('HGET', hash, name)
    local s, r, d = 0, 0, 0
    if row then s, r, d = struct.unpack(ROW, row) end
    if enforcement == 104 then
      local value = tonumber(call('HGET', KEYS[2], ARGV[IDS + i]) or nil)
      if not value or value - s - r - d < extra then return 'NO' end
    end
    written[#written + 1] = {hash, name, struct.pack(ROW, s, r + extra, d)}
  end
end
local held, next_held = {}, string.gmatch(record[2], '%d+')
for m = 1, M do held[m] = string.format('%.0f', tonumber(next_held()) + tonumber(ARGV[4 + m])) end
call('HSET', KEYS[1], 'held', table.concat(held, ' '))
for _, write in ipairs(written) do call('HSET', write[1], write[2], write[3]) end
return 'OK'
