// What @smithy/credential-provider-imds finds in the metadata service, in one line. The folder of its packages is the
// first word.
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const imds = require("@smithy/credential-provider-imds");

try {
    const credentials = await imds.fromInstanceMetadata()();
    const { hostname } = await imds.getInstanceMetadataEndpoint();
    // Its own requests, for paths of ours.
    const ask = async (path, options) => (await imds.httpRequest({ hostname, path, ...options })).toString();
    const token = await ask("/latest/api/token", {
        method: "PUT",
        headers: { "x-aws-ec2-metadata-token-ttl-seconds": "21600" },
    });
    const leaf = (path) => ask(`/latest/meta-data/${path}`, { headers: { "x-aws-ec2-metadata-token": token } });
    const region = await leaf("placement/region");
    const [id, tag] = [await leaf("instance-id"), await leaf("tags/instance/Name")];
    console.log(`key=${credentials.accessKeyId} region=${region} id=${id} tag=${tag}`);
} catch (error) {
    console.log("no credentials");
    console.error(error.message);
}
