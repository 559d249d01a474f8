// Against a running service: `PLUMAGE_URL=… PLUMAGE_KEY=… node test/live.mjs TARGET REFERENCE`.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { openAsBlob } from "node:fs";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { ApiError, good, JobEnded, Plumage, Webhook, WebhookVerificationError } from "../dist/index.js";

const [, , targetPath, referencePath] = process.argv;
const plumage = new Plumage({ baseUrl: process.env.PLUMAGE_URL, key: process.env.PLUMAGE_KEY });
const target = await openAsBlob(targetPath);
const reference = await openAsBlob(referencePath);
const at = (id) => ({ params: { path: { id } } });

const tests = {
  async transfer() {
    const seen = [];
    const { job, picture } = await plumage.run({ target, reference, seed: 7, metadata: { order: "12" } }, (it) => seen.push(it));
    assert.equal(job.status, "succeeded");
    assert.deepEqual(job.metadata, { order: "12" });
    assert.deepEqual(seen.at(-1), job);
    const digest = createHash("sha256").update(Buffer.from(await picture.arrayBuffer())).digest("hex");
    assert.equal(digest, job.result.sha256);
    assert.deepEqual(good(await plumage.api.GET("/v1/transfers/{id}", at(job.id))), job);
  },

  async sameKeySameJob() {
    const [one, two] = [await plumage.submit({ target, reference, seed: 1 }, "k1"), await plumage.submit({ target, reference, seed: 1 }, "k1")];
    assert.equal(one.id, two.id);
  },

  async cancelAndDelete() {
    const job = await plumage.submit({ target, reference, prompt: '{"steps": 600, "pause_s": 0.05}' });
    good(await plumage.api.POST("/v1/transfers/{id}/cancel", at(job.id)));
    let last;
    for await (last of plumage.follow(job.id));
    assert.equal(last.status, "canceled");
    good(await plumage.api.DELETE("/v1/transfers/{id}", at(job.id)));
    await assert.rejects(plumage.follow(job.id).next(), (error) => error instanceof ApiError && error.code === "job_gone");
  },

  async failure() {
    await assert.rejects(
      plumage.run({ target, reference, prompt: '{"error": "asked for"}' }),
      (error) => error instanceof JobEnded && error.job.error.code === "internal",
    );
  },

  async matches() {
    let job = await plumage.match({ target, reference, seed: 3 });
    for (; !["succeeded", "failed"].includes(job.status); ) job = good(await plumage.api.GET("/v1/matches/{id}", at(job.id)));
    assert.equal(job.status, "succeeded");
    const file = await plumage.api.GET("/v1/matches/{id}/result", { ...at(job.id), parseAs: "arrayBuffer" });
    assert.equal(createHash("sha256").update(Buffer.from(good(file))).digest("hex"), job.result.sha256);
  },

  async regions() {
    const params = { masks: { regions: [{ target_mask: "left" }, { reference: "leaf" }] } };
    const job = await plumage.submit({ target, reference, params, pictures: { leaf: reference }, masks: { left: target } });
    assert.equal(job.params.masks.regions[1].reference, "leaf");
    await assert.rejects(
      plumage.submit({ target, reference, params, pictures: { leaf: reference } }),
      (error) => error instanceof ApiError && error.problem.errors[0].pointer === "/mask_left",
    );
  },

  async severalSeeds() {
    const { job, picture } = await plumage.run({ target, reference, seeds: [4, 2] });
    assert.deepEqual([job.seed, job.seeds], [4, [4, 2]]);
    assert.deepEqual(job.result.variants.map((it) => it.seed), [4, 2]);
    assert.equal(picture.size, job.result.variants[0].bytes);
    assert.equal((await plumage.result(job.id, 2)).size, job.result.variants[1].bytes);
    await assert.rejects(plumage.result(job.id, 3), (error) => error instanceof ApiError && error.code === "no_variant");
  },

  async batch() {
    const [a, b] = [await plumage.upload(target), await plumage.upload(reference)];
    assert.equal((await plumage.upload(target)).id, a.id);
    const items = ["one", "two"].map((custom_id) => ({ custom_id, target: { asset: a.id } }));
    const batch = await plumage.submitBatch({ reference: { asset: b.id }, items, seed: 1 });
    const seen = [];
    for await (const it of plumage.followBatch(batch.id)) seen.push(it);
    assert.equal(seen.at(-1).counts.succeeded, 2);
    assert.deepEqual(await plumage.batchEnd(batch.id), seen.at(-1));
    const results = await plumage.batchResults(batch.id);
    assert.deepEqual(results.map((it) => it.custom_id), ["one", "two"]);
    assert.equal(results[0].transfer.result.sha256, results[1].transfer.result.sha256);

    const long = await plumage.submitBatch({ reference: { asset: b.id }, items, prompt: '{"steps": 600, "pause_s": 0.05}' });
    good(await plumage.api.POST("/v1/batches/{id}/cancel", at(long.id)));
    assert.equal((await plumage.batchEnd(long.id)).counts.canceled, 2);
  },

  async refusal() {
    await assert.rejects(plumage.submit({ target: new Blob(["no picture"]), reference }), (error) => {
      assert.ok(error instanceof ApiError);
      assert.equal(error.status, 415);
      assert.equal(error.code, "image_type_unsupported");
      assert.deepEqual(error.problem.errors.map((it) => it.pointer), ["/target"]);
      return true;
    });
    const stranger = new Plumage({ baseUrl: process.env.PLUMAGE_URL, key: "plumage_wrong" });
    await assert.rejects(stranger.result("x"), (error) => error instanceof ApiError && error.code === "key_refused");
  },

  async webhook() {
    const webhook = new Webhook(process.env.PLUMAGE_WEBHOOK_SECRET);
    const arrivals = [];
    const server = createServer(async (request, response) => {
      arrivals.push({ headers: request.headers, body: await text(request) });
      response.writeHead(204).end();
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    const url = `http://127.0.0.1:${server.address().port}/`;
    const tried = good(await plumage.api.POST("/v1/webhooks/test", { body: { url } }));
    assert.equal(tried.status, "delivered");
    const job = await plumage.submit({ target, reference, webhook: { url, events: ["succeeded"] } });
    while (arrivals.length < 2) await new Promise((resolve) => setTimeout(resolve, 50));
    server.close();
    const [, { headers, body }] = arrivals;
    const event = webhook.verify(body, headers);
    assert.deepEqual([event.type, event.data.id], ["transfer.succeeded", job.id]);
    for (const arrival of arrivals) assert.ok(webhook.verify(arrival.body, arrival.headers).type);
    assert.throws(() => webhook.verify(`${body} `, headers), WebhookVerificationError);
    assert.throws(() => webhook.verify(body, arrivals[0].headers), WebhookVerificationError);
  },
};

for (const [name, test] of Object.entries(tests)) {
  await test();
  console.log(`ok ${name}`);
}
