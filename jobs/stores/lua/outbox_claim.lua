-- prefix, lease_ms, attempts at one delivery, attempts at the same time for one tenant, seconds to keep what is settled
--   -> fields of a delivery that is due | nil
-- Tenants take turns, and none can fill all places with receivers that do not answer.
local lease_ms, most_attempts, most_at_once = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()

local function next_due(tenant)
  redis.call('ZREMRANGEBYSCORE', key('flights', tenant), '-inf', now)
  while redis.call('ZCARD', key('flights', tenant)) < most_at_once do
    -- Asked anew: an event that the end of another has let go is due now, which may be a millisecond later.
    local id = redis.call('ZRANGEBYSCORE', key('outbox', tenant), '-inf', now_ms(), 'LIMIT', 0, 1)[1]
    if not id then return nil end
    local attempts = tonumber(redis.call('HGET', key('delivery', id), 'attempts'))
    if attempts and attempts < most_attempts then return id end
    unschedule(id, tenant)
    -- Whoever made the last attempt died with it.
    if attempts then
      redis.call('HSET', key('delivery', id), 'error', 'interrupted')
      settle(id, tenant, 'failed', ARGV[5])
    end
  end
end

for _, tenant in ipairs(redis.call('ZRANGE', key('outboxes'), 0, -1)) do
  local id = next_due(tenant)
  if id then
    redis.call('ZADD', key('outboxes'), redis.call('INCR', key('outbox-turn')), tenant)
    redis.call('ZADD', key('outbox', tenant), now + lease_ms, id)
    redis.call('ZADD', key('flights', tenant), now + lease_ms, id)
    redis.call('HINCRBY', key('delivery', id), 'attempts', 1)
    return redis.call('HGETALL', key('delivery', id))
  end
end
return false
