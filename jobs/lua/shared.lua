-- Prepended to every script. ARGV[1] is always the key prefix. All times are Redis TIME in milliseconds.
--
--   job:<id>            hash    the record
--   tomb:<id>           string  tenant of a job; outlives the record
--   index:<tenant>      zset    all jobs of a tenant by sequence number
--   pending:<tenant>    zset    queued jobs of a tenant by rank: priority first, then sequence number
--   rotation            zset    tenants with queued jobs by the turn in which they were last served
--   served:<tenant>     string  that turn, kept for a while when nothing is queued
--   queued              zset    all queued jobs by the time they began to wait
--   leases              zset    all claimed jobs by the time their lease ends
--   expiring, leftovers zset    work for the collector of objects
--   deadlines           zset    jobs that never started by the time until which they may
--   active:<tenant>     set     jobs of a tenant that are not over
--   key:<id>, keys      hash, zset  API keys
--   key_for:<purpose>   string  signs something; drawn once, shared by the API and what sends webhooks
--   keyring:<tenant>, keyring:<tenant>:<id>  zset, hash  secrets that sign webhooks. Workers may touch nothing that
--                       begins with a k: see deploy/redis-acl.conf
--   reserved            zset    jobs whose inputs are being stored, by the time that began
--   submission:<tenant>:<key> hash  a submission that may be sent again: fingerprint, job id, its first snapshot
--   see also events.lua
local prefix = ARGV[1]

-- Defined in events.lua.
local notify -- (id, event): puts an event into the outbox if the job's client wants to hear of it
local deliveries_of -- (id): what became of the job's events, as JSON, or nil

local function key(...)
  return table.concat({prefix, ...}, ':')
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function field(id, name)
  return redis.call('HGET', key('job', id), name)
end

local function wait_in_line(id, at)
  local tenant = field(id, 'tenant')
  redis.call('ZADD', key('pending', tenant), field(id, 'rank'), id)
  redis.call('ZADD', key('queued'), at, id)
  if not redis.call('ZSCORE', key('rotation'), tenant) then
    redis.call('ZADD', key('rotation'), redis.call('GET', key('served', tenant)) or 0, tenant)
  end
end

local function leave_line(id, tenant)
  redis.call('ZREM', key('pending', tenant), id)
  redis.call('ZREM', key('queued'), id)
  if redis.call('EXISTS', key('pending', tenant)) == 0 then
    redis.call('ZREM', key('rotation'), tenant)
  end
end

local function requeue(id)
  redis.call('ZREM', key('leases'), id)
  redis.call('HSET', key('job', id), 'status', 'queued', 'step', 0, 'steps', 0)
  redis.call('HDEL', key('job', id), 'started_at', 'preview_key')
  wait_in_line(id, now_ms())
  notify(id, 'queued')
end

-- retention, shortened by the job's own time to live, and tombstone in seconds; a name and value of one more field may follow
local function finish(id, status, retention, tombstone, name, value)
  local now = now_ms()
  local tenant = field(id, 'tenant')
  redis.call('ZREM', key('leases'), id)
  redis.call('SREM', key('active', tenant), id)
  redis.call('ZREM', key('deadlines'), id)
  retention = math.min(retention, tonumber(field(id, 'ttl') or retention))
  redis.call('HSET', key('job', id), 'status', status, 'finished_at', now)
  if name then redis.call('HSET', key('job', id), name, value) end
  redis.call('EXPIRE', key('job', id), retention)
  redis.call('SET', key('tomb', id), tenant, 'EX', retention + tombstone)
  redis.call('ZADD', key('expiring'), now + retention * 1000, tenant .. '/' .. id)
  local attempt = tonumber(field(id, 'attempt'))
  if attempt > 1 or (attempt == 1 and status ~= 'succeeded') then
    redis.call('ZADD', key('leftovers'), now, tenant .. '/' .. id)
  end
  notify(id, status)
end

-- Turns go round the tenants, so with k jobs of my own in front of a job each other tenant is served k times before
-- it, and once more if it stands before mine in the rotation.
local function queue_position(id, tenant)
  local rank = redis.call('ZRANK', key('pending', tenant), id)
  if not rank then return false end
  local turn = tonumber(redis.call('ZSCORE', key('rotation'), tenant))
  local ahead = rank
  local rotation = redis.call('ZRANGE', key('rotation'), 0, -1, 'WITHSCORES')
  for i = 1, #rotation, 2 do
    local other, served = rotation[i], tonumber(rotation[i + 1])
    if other ~= tenant then
      local first = served < turn or (served == turn and other < tenant)
      ahead = ahead + math.min(redis.call('ZCARD', key('pending', other)), rank + (first and 1 or 0))
    end
  end
  return ahead + 1
end

-- Whether the tenant may see the job; when not, also what to answer: 'gone' for one that it had, else nil.
local function belongs(id, tenant)
  local owner = field(id, 'tenant')
  if owner == tenant then return true end
  return false, not owner and redis.call('GET', key('tomb', id)) == tenant and 'gone'
end

-- The record as the store reads it: its fields, and its place in the line or false.
local function snapshot(id)
  local fields = redis.call('HGETALL', key('job', id))
  if #fields == 0 then return false end
  local deliveries = deliveries_of(id)
  if deliveries then
    fields[#fields + 1] = 'deliveries'
    fields[#fields + 1] = deliveries
  end
  return {fields, queue_position(id, field(id, 'tenant'))}
end
