-- use: each_hold
-- What the shard's open records hold: hash -> row -> amount.
local function holds(leases, base, open)
  local held = {}
  local function add(hash, row, amount)
    held[hash] = held[hash] or {}
    held[hash][row] = (held[hash][row] or 0) + amount
  end
  for _, id in ipairs(redis.call('ZRANGE', leases, '0', '-1')) do
    local record = redis.pcall('HMGET', open .. id, 'rows', 'held', 'meters')
    if not record.err and record[1] and record[1] ~= '' then each_hold(record, base, add) end
  end
  return held
end
