// The page while one works on it: built anew at each change, its files served from dist/, every other call passed on to a running job.
//
//     npm run dev                        the job is at http://localhost:5000, the page at http://localhost:5173
//     CAUDAL_URL=… PORT=… npm run dev
import { serve } from "./serve.mjs";

const job = new URL(process.env.CAUDAL_URL ?? "http://localhost:5000");
const port = Number(process.env.PORT ?? 5173);
serve(job, port).on("listening", () => console.log(`http://localhost:${port}/ for the job at ${job.origin}`));

process.argv.push("--watch");
await import("./build.mjs");
