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
--   asset:<tenant>:<id> string  an uploaded picture, as JSON
--   assets:<tenant>     zset    a tenant's assets by the time they end
--   ending              zset    tenant/id/copy of all assets by the time their object may go: work for the collector
--   batch:<id>          hash    jobs that were submitted together; it ends with the last of them
--   batch-ends:<id>     hash    how those of its jobs ended that are over
--   batches:<tenant>    zset    all batches of a tenant by sequence number
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

-- Counts a job out of its batch. retention and tombstone are the batch's, when this is its last job.
local function leave_batch(id, status, retention, tombstone)
  local batch, tenant = field(id, 'batch'), field(id, 'tenant')
  if not batch or redis.call('EXISTS', key('batch', batch)) == 0 then return end
  redis.call('HSET', key('batch-ends', batch), id, status)
  if redis.call('HINCRBY', key('batch', batch), 'open', -1) > 0 then return end
  local now = now_ms()
  retention = math.min(retention, tonumber(redis.call('HGET', key('batch', batch), 'ttl') or retention))
  redis.call('HSET', key('batch', batch), 'finished_at', now)
  redis.call('EXPIRE', key('batch', batch), retention)
  redis.call('EXPIRE', key('batch-ends', batch), retention)
  redis.call('SET', key('tomb', batch), tenant, 'EX', retention + tombstone)
  redis.call('ZADD', key('expiring'), now + retention * 1000, tenant .. '/' .. batch)
end

-- retention, shortened by the job's own time to live, and tombstone in seconds; a name and value of one more field may follow
local function finish(id, status, retention, tombstone, name, value)
  local now = now_ms()
  local tenant = field(id, 'tenant')
  redis.call('ZREM', key('leases'), id)
  redis.call('SREM', key('active', tenant), id)
  redis.call('ZREM', key('deadlines'), id)
  leave_batch(id, status, retention, tombstone)
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
local function place_in_line(tenant, rank)
  local turn = tonumber(redis.call('ZSCORE', key('rotation'), tenant) or redis.call('GET', key('served', tenant)) or 0)
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

local function queue_position(id, tenant)
  local rank = redis.call('ZRANK', key('pending', tenant), id)
  return rank and place_in_line(tenant, rank)
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

local function create_job(id, tenant, priority, spec, kind, deadline_s, ttl_s, batch)
  local now = now_ms()
  local sequence = redis.call('INCR', key('sequence'))
  redis.call('HSET', key('job', id), 'id', id, 'tenant', tenant, 'status', 'queued', 'attempt', 0, 'crashes', 0,
    'kind', kind, 'spec', spec, 'step', 0, 'steps', 0, 'created_at', now, 'sequence', sequence, 'rank', sequence - priority * 1e12)
  redis.call('ZADD', key('index', tenant), sequence, id)
  if batch then redis.call('HSET', key('job', id), 'batch', batch) end
  if ttl_s > 0 then redis.call('HSET', key('job', id), 'ttl', ttl_s) end
  if deadline_s > 0 then redis.call('ZADD', key('deadlines'), now + deadline_s * 1000, id) end
  redis.call('SADD', key('active', tenant), id)
  wait_in_line(id, now)
  -- Quotes inside of strings are escaped, so this is never part of one.
  local webhook = not string.find(spec, '"webhook":null', 1, true) and cjson.decode(spec).webhook
  if type(webhook) == 'table' then redis.call('HSET', key('job', id), 'webhook', cjson.encode(webhook)) end
  notify(id, 'queued')
end

-- Queued jobs end at once, running ones are asked to; in every other state nothing changes.
local function cancel_job(id, tenant, retention, tombstone)
  local status = field(id, 'status')
  if status == 'queued' then
    leave_line(id, tenant)
    finish(id, 'canceled', retention, tombstone)
  elseif status == 'running' then
    redis.call('HSET', key('job', id), 'status', 'canceling')
  end
end

-- A job that no worker has. The objects go after the record: until they have, it is among those of the collector.
local function delete_job(id, tenant, retention, tombstone)
  leave_line(id, tenant)
  if field(id, 'status') == 'queued' then leave_batch(id, 'canceled', retention, tombstone) end
  redis.call('DEL', key('job', id))
  redis.call('ZREM', key('deadlines'), id)
  redis.call('SREM', key('active', tenant), id)
  redis.call('ZREM', key('index', tenant), id)
  redis.call('SET', key('tomb', id), tenant, 'EX', tombstone)
  redis.call('ZADD', key('expiring'), now_ms(), tenant .. '/' .. id)
end

-- Keeps the first answer to a submission, or remembers that what it made was deleted.
local function answer_submission(tenant, name, answer, keep_s)
  local submission = key('submission', tenant, name)
  redis.call('HSET', submission, 'answer', cjson.encode(answer))
  redis.call('EXPIRE', submission, keep_s)
end

local function forget_answer(tenant, name)
  local submission = key('submission', tenant, name)
  if redis.call('HDEL', submission, 'answer') == 1 then redis.call('HSET', submission, 'deleted', 1) end
end

-- {fields, status of each of its jobs}
local function batch_snapshot(batch)
  local fields = redis.call('HGETALL', key('batch', batch))
  if #fields == 0 then return false end
  local statuses = {}
  for position, item in ipairs(cjson.decode(redis.call('HGET', key('batch', batch), 'items'))) do
    statuses[position] = field(item[2], 'status') or redis.call('HGET', key('batch-ends', batch), item[2]) or 'canceled'
  end
  return {fields, statuses}
end

-- As belongs, of a batch.
local function batch_belongs(batch, tenant)
  local owner = redis.call('HGET', key('batch', batch), 'tenant')
  if owner == tenant then return true end
  return false, not owner and redis.call('GET', key('tomb', batch)) == tenant and 'gone'
end

-- An asset ends by itself, and a moment later its object is due.
local function keep_asset(tenant, id, asset, keep_ms)
  local ends = now_ms() + keep_ms
  redis.call('SET', key('asset', tenant, id), asset, 'PX', keep_ms)
  redis.call('ZADD', key('assets', tenant), ends, id)
  redis.call('PEXPIRE', key('assets', tenant), keep_ms)
  redis.call('ZADD', key('ending'), ends + 1000, tenant .. '/' .. id .. '/' .. cjson.decode(asset).copy_id)
  return {asset, ends}
end
