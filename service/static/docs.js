"use strict";

// A reader of /openapi.json: operations first, then the schemas they refer to.

function node(name, attributes, ...children) {
  const element = Object.assign(document.createElement(name), attributes);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// The documents' texts are CommonMark; only `code` is rendered.
function prose(text) {
  const parts = (text || "").split("`");
  return node("span", {}, ...parts.map((part, i) => (i % 2 ? node("code", {}, part) : part)));
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return node("a", { href: `#schema-${name}` }, name);
  }
  const options = schema.anyOf || schema.oneOf;
  if (options) return node("span", {}, ...options.flatMap((o, i) => (i ? [" or ", typeOf(o)] : [typeOf(o)])));
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.const !== undefined) return String(schema.const);
  if (schema.type === "array" && schema.items) return node("span", {}, "list of ", typeOf(schema.items));
  if (schema.format === "binary" || schema.contentMediaType) return "file";
  return [schema.type || "object", schema.format].filter(Boolean).join(", ");
}

function bounds(schema) {
  const words = {
    minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<",
    minLength: "length ≥", maxLength: "length ≤", minItems: "items ≥", maxItems: "items ≤", pattern: "matches",
  };
  const all = [schema, ...(schema.anyOf || [])];
  const found = all.flatMap((s) => Object.keys(words).filter((k) => k in s).map((k) => `${words[k]} ${s[k]}`));
  if (schema.default !== undefined) found.push(`default ${JSON.stringify(schema.default)}`);
  return found.join(", ");
}

function row(name, schema, description, required) {
  const label = node("td", {}, node("code", {}, name), required ? " *" : "");
  const text = node("td", {}, prose(description || schema.description));
  return node("tr", {}, label, node("td", {}, typeOf(schema)), node("td", {}, bounds(schema)), text);
}

function table(rows) {
  return rows.length ? node("table", {}, ...rows) : null;
}

function fields(schema) {
  const required = new Set(schema.required || []);
  return table(Object.entries(schema.properties || {}).map(([n, s]) => row(n, s, s.description, required.has(n))));
}

function operation(method, path, op, schemas) {
  const form = Object.values(op.requestBody?.content || {})[0]?.schema;
  const body = form?.$ref ? schemas[form.$ref.split("/").pop()] : form;
  const answers = Object.entries(op.responses).map(([status, answer]) => {
    const [type, content] = Object.entries(answer.content || {})[0] || ["", {}];
    const shape = content.schema?.$ref ? typeOf(content.schema) : type;
    return node("tr", {}, node("td", {}, status), node("td", {}, shape), node("td", {}, prose(answer.description)));
  });
  return node(
    "section", { id: op.operationId },
    node("h2", {}, node("span", { className: "method" }, method), " ", node("code", {}, path), ` ${op.summary}`),
    node("p", {}, prose(op.description)),
    table((op.parameters || []).map((p) => row(`${p.name} (${p.in})`, p.schema, p.description, p.required))),
    body ? fields(body) : null,
    node("details", {}, node("summary", {}, "Answers"), table(answers)),
  );
}

async function render() {
  const api = await (await fetch("/openapi.json")).json();
  const schemas = api.components.schemas;
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, op]) => operation(method, path, op, schemas)));
  const models = Object.entries(schemas).map(([name, schema]) => node(
    "section", { id: `schema-${name}` },
    node("h2", {}, name), node("p", {}, prose(schema.description)), fields(schema) || node("p", {}, typeOf(schema)),
  ));
  const paragraphs = (api.info.description || "").split(/\n\n/).map((text) => node("p", {}, prose(text)));
  document.getElementById("main").replaceChildren(
    ...paragraphs, ...operations, node("h1", {}, "Schemas"), node("p", { className: "muted" }, "* required"), ...models);
}

render().catch((error) => { document.getElementById("main").textContent = `Cannot read openapi.json: ${error}`; });
