-- prefix, worker, nonce, lease_ms, retention, tombstone -> snapshot | nil
-- The nonce names one call: when its answer is lost and the call repeated, the same claim is returned if it holds still.
local worker, nonce, lease_ms = ARGV[2], ARGV[3], tonumber(ARGV[4])
local answered = redis.call('HMGET', key('claims', worker), 'nonce', 'id', 'attempt')
if answered[1] == nonce then
  local id = answered[2]
  local status = field(id, 'status')
  if field(id, 'attempt') == answered[3] and (status == 'running' or status == 'canceling') then
    redis.call('ZADD', key('leases'), now_ms() + lease_ms, id)
    return snapshot(id)
  end
end

-- Least recently served tenant first; within a tenant by rank.
local function next_in_line()
  while true do
    local tenant = redis.call('ZRANGE', key('rotation'), 0, 0)[1]
    if not tenant then return nil end
    local id = redis.call('ZRANGE', key('pending', tenant), 0, 0)[1]
    if not id then
      redis.call('ZREM', key('rotation'), tenant)
    else
      leave_line(id, tenant)
      local deadline = tonumber(redis.call('ZSCORE', key('deadlines'), id) or math.huge)
      if field(id, 'status') == 'queued' then
        if now_ms() <= deadline then return id, tenant end
        finish(id, 'expired', tonumber(ARGV[5]), tonumber(ARGV[6]))
      end
    end
  end
end

local id, tenant = next_in_line()
if not id then return false end
local turn = redis.call('INCR', key('turn'))
redis.call('SET', key('served', tenant), turn, 'EX', 3600)
redis.call('ZADD', key('rotation'), 'XX', turn, tenant)
local now = now_ms()
redis.call('ZREM', key('deadlines'), id)
local attempt = redis.call('HINCRBY', key('job', id), 'attempt', 1)
redis.call('HSET', key('job', id), 'status', 'running', 'worker', worker, 'started_at', now)
redis.call('ZADD', key('leases'), now + lease_ms, id)
redis.call('HSET', key('claims', worker), 'nonce', nonce, 'id', id, 'attempt', attempt)
redis.call('EXPIRE', key('claims', worker), 60)
notify(id, 'running')
return snapshot(id)
