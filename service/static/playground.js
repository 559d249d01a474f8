"use strict";

const $ = (id) => document.getElementById(id);
const FINAL = new Set(["succeeded", "failed", "canceled", "expired"]);
let current = null; // the record that is shown
let stream = null;

function showError(problem) {
  const fields = (problem.errors || []).map((e) => `${e.pointer}: ${e.message}`);
  $("error").textContent = [problem.detail || problem.title || String(problem), ...fields].join("\n");
}

// The key stays in its field: it is sent with requests and kept nowhere.
function keyed(options = {}) {
  const key = $("key").value.trim();
  return key ? { ...options, headers: { Authorization: `Bearer ${key}` } } : options;
}

async function call(url, options) {
  const response = await fetch(url, keyed(options));
  const body = await response.json();
  if (!response.ok) throw body;
  return body;
}

function show(record) {
  current = record;
  const over = FINAL.has(record.status);
  const { step, steps, value } = record.progress;
  const place = record.queue_position ? `, number ${record.queue_position} in line` : "";
  const count = steps ? `, step ${step} of ${steps}` : "";
  $("job").hidden = false;
  $("state").textContent = `${record.status}${place}${over ? "" : count}`;
  $("progress").value = value;
  $("submit").disabled = !over;
  $("cancel").hidden = over;
  $("record").textContent = JSON.stringify(record, null, 2);
  if (record.error) showError({ detail: record.error.message });
  if (record.status === "running" && step > 0) showPicture(`${record.urls.preview}?step=${step}`);
  if (record.status === "succeeded") {
    showPicture(record.urls.result);
    $("download").href = record.result.url; // a link that needs no key
    $("state").textContent += foundMasks(record.result.masks);
  }
  $("download").hidden = record.status !== "succeeded";
}

function foundMasks(masks) {
  const found = Object.entries(masks ?? {}).filter(([, mask]) => mask.confidence !== null);
  const said = found.map(([name, mask]) => `${name} ${Math.round(100 * mask.confidence)} %`);
  return said.length ? `; masks found, expected overlap: ${said.join(", ")}` : "";
}

async function showPicture(url) {
  const response = await fetch(url, keyed());
  if (!response.ok) return; // a preview that is not there yet
  const shown = $("picture").src;
  $("picture").src = URL.createObjectURL(await response.blob());
  $("result").hidden = false;
  URL.revokeObjectURL(shown);
}

async function poll(record) {
  for (let now = record; !FINAL.has(now.status) && current.id === record.id; ) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    now = await call(record.urls.self);
    if (current.id === record.id) show(now);
  }
}

function follow(record) {
  if (stream) stream.close();
  show(record);
  if ($("key").value.trim()) {
    poll(record).catch(showError); // an EventSource sends no key
    return;
  }
  stream = new EventSource(record.urls.events);
  stream.addEventListener("transfer", (event) => {
    show(JSON.parse(event.data));
    if (FINAL.has(current.status)) stream.close();
  });
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("error").textContent = "";
  $("result").hidden = true;
  $("picture").removeAttribute("src");
  $("submit").disabled = true;
  try {
    follow(await call("/v1/transfers", { method: "POST", body: new FormData($("form")) }));
  } catch (problem) {
    showError(problem);
    $("submit").disabled = false;
  }
});

$("cancel").addEventListener("click", async () => {
  try {
    show(await call(current.urls.cancel, { method: "POST" }));
  } catch (problem) {
    showError(problem);
  }
});

for (const zone of document.querySelectorAll("[data-drop]")) {
  const input = zone.querySelector("input");
  const image = zone.querySelector("img");
  input.addEventListener("change", () => {
    URL.revokeObjectURL(image.src);
    image.hidden = !input.files.length;
    if (input.files.length) image.src = URL.createObjectURL(input.files[0]);
  });
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change"));
  });
}
