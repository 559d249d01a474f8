-- Prepended to every script after shared.lua: the outbox of webhooks. An event is written by the script that changes
-- the state it tells of, so neither exists without the other.
--
--   delivery:<id>       hash    an event on its way to a receiver, and how that went
--   outbox:<tenant>     zset    deliveries that are not settled by the time of their next attempt
--   flights:<tenant>    zset    deliveries that are being attempted by the time that their lease ends
--   outboxes            zset    tenants with an outbox by the turn in which they were last served
local DELIVERY_KEPT_S = 8 * 86400

local function schedule(id, tenant, at)
  redis.call('HSET', key('delivery', id), 'due', at)
  redis.call('ZADD', key('outbox', tenant), at, id)
  redis.call('ZADD', key('outboxes'), 'NX', redis.call('GET', key('outbox-turn')) or 0, tenant)
end

local function unschedule(id, tenant)
  redis.call('ZREM', key('outbox', tenant), id)
  redis.call('ZREM', key('flights', tenant), id)
  if redis.call('EXISTS', key('outbox', tenant)) == 0 then redis.call('ZREM', key('outboxes'), tenant) end
end

local function post(id, tenant, event, url, job, record)
  local now = now_ms()
  redis.call('HSET', key('delivery', id), 'id', id, 'tenant', tenant, 'event', event, 'url', url, 'job', job,
    'record', record, 'status', 'pending', 'attempts', 0, 'created_at', now, 'due', now)
  redis.call('EXPIRE', key('delivery', id), DELIVERY_KEPT_S)
end

-- Lets the event go that waits for this one.
local function release_next(id, tenant)
  local waiting = redis.call('HGET', key('delivery', id), 'next')
  redis.call('HDEL', key('delivery', id), 'next')
  if waiting and redis.call('EXISTS', key('delivery', waiting)) == 1 then schedule(waiting, tenant, now_ms()) end
end

-- status is 'delivered' or 'failed'. What the event said is no longer needed.
local function settle(id, tenant, status, keep_s)
  unschedule(id, tenant)
  release_next(id, tenant)
  redis.call('HSET', key('delivery', id), 'status', status, 'settled_at', now_ms())
  redis.call('HDEL', key('delivery', id), 'record', 'due')
  redis.call('EXPIRE', key('delivery', id), keep_s)
end

notify = function(id, event)
  local webhook = field(id, 'webhook')
  if not webhook or redis.call('HEXISTS', key('job', id), 'webhook_gone') == 1 then return end
  webhook = cjson.decode(webhook)
  local wanted = false
  for _, name in ipairs(webhook.events) do wanted = wanted or name == event end
  if not wanted then return end
  local tenant, record = field(id, 'tenant'), cjson.encode(snapshot(id))
  local number = redis.call('HINCRBY', key('job', id), 'events', 1)
  local delivery, before = id .. '-' .. number, key('delivery', id .. '-' .. (number - 1))
  post(delivery, tenant, event, webhook.url, id, record)
  -- Each waits until the one before it has been tried once: in order while the receiver takes what it is sent, and
  -- none is held up for hours by another.
  if redis.call('HGET', before, 'status') == 'pending' and redis.call('HEXISTS', before, 'tried') == 0 then
    redis.call('HSET', before, 'next', delivery)
  else
    schedule(delivery, tenant, now_ms())
  end
end

-- Calls act(delivery id) for every event of a job that is still known.
local function each_event(id, act)
  for number = 1, tonumber(field(id, 'events') or 0) do
    local delivery = id .. '-' .. number
    if redis.call('EXISTS', key('delivery', delivery)) == 1 then act(delivery) end
  end
end

-- Everything but what the event said.
local function shown(delivery)
  local fields = {}
  for _, name in ipairs({'id', 'event', 'url', 'status', 'attempts', 'http_status', 'error', 'created_at', 'due', 'settled_at'}) do
    local value = redis.call('HGET', key('delivery', delivery), name)
    if value then fields[name] = value end
  end
  return fields
end

deliveries_of = function(id)
  local found = {}
  each_event(id, function(delivery)
    found[#found + 1] = shown(delivery)
  end)
  return #found > 0 and cjson.encode(found) or nil
end

local function forget_events(id)
  local tenant = field(id, 'tenant')
  each_event(id, function(delivery)
    unschedule(delivery, tenant)
    redis.call('DEL', key('delivery', delivery))
  end)
end
