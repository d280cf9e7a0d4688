// An event of the civic-safety application.
export const incident = (changes = {}) => ({
  event_id: crypto.randomUUID(),
  timestamp: new Date().toISOString(),
  region: "RM",
  source: "security.incident",
  schema_version: "1.0",
  correlation_id: "099950d8-36f6-45cc-81e7-4ef5e8e25d94",
  payload: {
    crime_type: "assault",
    severity: "medium",
    location: { lat: -33.4, lon: -70.6 },
    reported_by: "citizen",
  },
  ...changes,
});
