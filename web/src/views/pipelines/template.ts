// What a new pipeline begins as: a file that passes the check, to be changed.
import type { Texts } from "./draft.ts";

/** Counts the events of a topic that the job has; null: of a topic of its own. */
export function template(topic: string | null): Texts {
  if (topic !== null) {
    return {
      file: `# What is counted here, and for whom.
pipeline: my_pipeline

topics:
  ${topic}: ~                       # described by another file of the job

windows:
  per_minute:
    every: 1m
    group: []                             # fields whose values each have a row of their own
    late:  {allow: 10s}
    metrics: {n: count()}
`,
      schemas: {},
    };
  }
  return {
    file: `# What is counted here, and for whom.
pipeline: my_pipeline

topics:
  order.placed: {schema: order.placed.json}

id:   order_id
time: {field: placed_at}

windows:
  per_minute:
    every: 1m
    group: [country]
    late:  {allow: 10s}
    metrics: {orders: count(), revenue: sum(price)}

tests:
  - name: two orders of one country
    topic: order.placed
    given:
      - {order_id: a, placed_at: "2026-11-22T12:00:00Z", country: CL, price: 2.5}
      - {order_id: b, placed_at: "2026-11-22T12:00:59Z", country: CL, price: 1}
    expect: {per_minute: [{country: CL, orders: 2, revenue: 3.5}]}
`,
    schemas: {
      "order.placed.json": `{
  "type": "object",
  "required": ["order_id", "placed_at", "country", "price"],
  "properties": {
    "order_id": {"type": "string"},
    "placed_at": {"type": "string", "format": "date-time"},
    "country": {"type": "string"},
    "price": {"type": "number", "minimum": 0}
  }
}
`,
    },
  };
}
