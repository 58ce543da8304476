// The official SDK as a client that knows nothing of us: jobs as a JSON array on standard input, outcomes out.
// A job is {base_url, api_key, retries, method, body, headers}; its outcome {error, status, code, param, type,
// request_id} where the SDK threw, else {value} (chunks of a stream as an array).
import OpenAI from "openai";

const errors = Object.entries(OpenAI).filter(([name, value]) => name.endsWith("Error") && typeof value === "function");

function nameOf(error) {
  return errors.find(([, kind]) => error.constructor === kind)?.[0] ?? error.constructor.name;
}

async function run(job) {
  const client = new OpenAI({ baseURL: job.base_url, apiKey: job.api_key, maxRetries: job.retries, timeout: 60_000 });
  const target = job.method.split(".").reduce((found, name) => found[name], client);
  try {
    if (job.method === "models") {
      const names = [];
      for await (const model of target.list()) names.push(model.id);
      return { value: names };
    }
    const asked = target.create(job.body, { headers: job.headers });
    if (!job.body.stream) {
      const { data, response, request_id } = await asked.withResponse();
      return { value: data, request_id, headers: Object.fromEntries(response.headers) };
    }
    const { data, request_id } = await asked.withResponse();
    const chunks = [];
    for await (const chunk of data) chunks.push(chunk);
    return { value: chunks, request_id };
  } catch (error) {
    return {
      error: nameOf(error),
      status: error.status ?? null,
      code: error.code ?? null,
      param: error.param ?? null,
      type: error.type ?? null,
      request_id: error.requestID ?? null,
      message: String(error.message),
    };
  }
}

let input = "";
for await (const part of process.stdin) input += part;
const outcomes = await Promise.all(JSON.parse(input).map(run));
process.stdout.write(JSON.stringify(outcomes));
