// A form from a JSON Schema as pydantic writes it: texts, numbers, days, choices, yes or no; anything else as JSON.
import { field, h, said, select } from "./dom.js";
import { has, t } from "./language.js";

// What a property really is: its $ref followed, the "or null" left out.
function plain(schema, root) {
  if (schema.$ref) return { ...plain(root.$defs[schema.$ref.split("/").at(-1)], root), ...schema, $ref: undefined };
  const some = schema.anyOf?.filter((one) => one.type !== "null");
  if (some?.length === 1) return { ...schema, ...plain(some[0], root), anyOf: undefined };
  if (schema.allOf?.length === 1) return { ...schema, ...plain(schema.allOf[0], root), allOf: undefined };
  return schema;
}

const given = (value) => (value === undefined || value === null ? "" : String(value));

function control(name, schema, required) {
  const value = schema.default;
  const common = { name, required };
  if (schema.enum) {
    const options = schema.enum.map((one) => [String(one), has(`option.${one}`) ? t(`option.${one}`) : String(one)]);
    return select(name, required || value !== undefined ? options : [["", t("form.unset")], ...options], given(value));
  }
  if (schema.type === "boolean") return h("input", { type: "checkbox", name, checked: value === true });
  if (schema.type === "integer" || schema.type === "number") {
    return h("input", { type: "number", ...common, value: given(value), dir: "ltr", step: schema.type === "integer" ? "1" : "any",
      min: schema.minimum ?? null, max: schema.maximum > Number.MAX_SAFE_INTEGER ? null : schema.maximum ?? null });
  }
  if (schema.format === "date") return h("input", { type: "date", ...common, value: given(value) });
  if (schema.type === "string") {
    return h("input", { type: schema.format === "password" ? "password" : "text", ...common, value: given(value), dir: "auto", autocomplete: "off",
      minlength: schema.minLength ?? null, maxlength: schema.maxLength ?? null, pattern: schema.pattern ?? null });
  }
  return h("textarea.mono", { ...common, rows: "4", dir: "ltr", spellcheck: "false" }, value === undefined || value === null ? "" : JSON.stringify(value));
}

function valueOf(input, schema) {
  if (input.type === "checkbox") return input.checked;
  if (input.value === "") return undefined;
  if (schema.enum) return schema.enum.find((one) => String(one) === input.value);
  if (schema.type === "integer" || schema.type === "number") return Number(input.value);
  if (schema.type === "string") return input.value;
  return JSON.parse(input.value);
}

// → {element, read()}; read() gives {params, confirm}, and a SyntaxError where JSON is none.
export function schemaForm(root, word) {
  const names = Object.keys(root.properties ?? {});
  const fields = names.map((name) => {
    const schema = plain(root.properties[name], root);
    const required = root.required?.includes(name) ?? false;
    const input = control(name, schema, required && schema.type !== "boolean");
    const label = has(`field.${name}`) ? t(`field.${name}`) : said(schema.title ?? name);
    const about = has(`field_hint.${name}`) ? t(`field_hint.${name}`) : schema.description ? said(schema.description) : null;
    return { name, schema, input, element: field(label, input, { wide: true, hint: about }) };
  });
  const confirm = word ? h("input.mono", { type: "text", name: "confirm", required: true, dir: "ltr", autocomplete: "off", spellcheck: "false" }) : null;
  return {
    element: h("div.stack", {}, fields.length || word ? fields.map((one) => one.element) : h("p.quiet", {}, t("start.no_params")),
      confirm ? field(t("delete.label", { word }), confirm, { wide: true }) : null),
    read: () => ({
      params: Object.fromEntries(fields.map(({ name, schema, input }) => [name, valueOf(input, schema)]).filter(([, value]) => value !== undefined)),
      confirm: confirm?.value.trim(),
    }),
  };
}
