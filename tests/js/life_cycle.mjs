// One life cycle of an image set by AWS's own JavaScript client. Prints what it saw as one JSON object.
// Environment: ENDPOINT, INPUT and OUTPUT (S3 URIs); the keys as the AWS client takes them.
import { gunzipSync } from "node:zlib";
import { setTimeout as sleep } from "node:timers/promises";
import * as sdk from "@aws-sdk/client-medical-imaging";

const client = new sdk.MedicalImagingClient({
  region: "us-east-1",
  endpoint: process.env.ENDPOINT,
  disableHostPrefix: true,
  maxAttempts: 1,
});
const seen = {};

async function until(done, ask) {
  for (let i = 0; i < 1200; i++) {
    const answer = await ask();
    if (done(answer)) return answer;
    await sleep(50);
  }
  throw new Error("it does not end");
}

const unlocked = (id) =>
  until(
    (found) => found.imageSetState !== "LOCKED",
    () => client.send(new sdk.GetImageSetCommand({ datastoreId, imageSetId: id })),
  );

async function metadata(id, versionId) {
  const answer = await client.send(
    new sdk.GetImageSetMetadataCommand({ datastoreId, imageSetId: id, versionId }),
  );
  const data = Buffer.from(await answer.imageSetMetadataBlob.transformToByteArray());
  return JSON.parse(gunzipSync(data).toString());
}

const { datastoreId } = await client.send(new sdk.CreateDatastoreCommand({ datastoreName: "js" }));
await until(
  (found) => found.datastoreProperties.datastoreStatus === "ACTIVE",
  () => client.send(new sdk.GetDatastoreCommand({ datastoreId })),
);

const { jobId } = await client.send(
  new sdk.StartDICOMImportJobCommand({
    jobName: "js",
    datastoreId,
    dataAccessRoleArn: "arn:aws:iam::000000000000:role/import",
    inputS3Uri: process.env.INPUT,
    outputS3Uri: process.env.OUTPUT,
  }),
);
const job = await until(
  (found) => ["COMPLETED", "FAILED"].includes(found.jobProperties.jobStatus),
  () => client.send(new sdk.GetDICOMImportJobCommand({ datastoreId, jobId })),
);
seen.job = job.jobProperties.jobStatus;

const summaries = [];
for await (const page of sdk.paginateSearchImageSets(
  { client, pageSize: 1 },
  { datastoreId, searchCriteria: { filters: [{ operator: "EQUAL", values: [{ DICOMPatientId: "P1" }] }] } },
)) {
  summaries.push(...page.imageSetsMetadataSummaries);
}
seen.found = summaries.map((one) => [one.version, one.isPrimary, one.createdAt instanceof Date]);
const imageSetId = summaries[0].imageSetId;
const before = await metadata(imageSetId);
const [series] = Object.values(before.Study.Series);
const frames = Object.values(series.Instances).flatMap((instance) => instance.ImageFrames);
const frame = await client.send(
  new sdk.GetImageFrameCommand({
    datastoreId,
    imageSetId,
    imageFrameInformation: { imageFrameId: frames[0].ID },
  }),
);
seen.frame = [frame.contentType, (await frame.imageFrameBlob.transformToByteArray()).length];
seen.frameSize = frames[0].FrameSizeInBytes;

const copied = await client.send(
  new sdk.CopyImageSetCommand({
    datastoreId,
    sourceImageSetId: imageSetId,
    copyImageSetInformation: { sourceImageSet: { latestVersionId: "1" } },
  }),
);
const copyId = copied.destinationImageSetProperties.imageSetId;
seen.copy = [
  copied.destinationImageSetProperties.imageSetWorkflowStatus,
  (await unlocked(copyId)).imageSetWorkflowStatus,
];

const blob = (value) => new TextEncoder().encode(JSON.stringify({ SchemaVersion: 1.1, ...value }));
const update = (latestVersionId, updates, more = {}) =>
  client.send(
    new sdk.UpdateImageSetMetadataCommand({
      datastoreId,
      imageSetId: copyId,
      latestVersionId,
      updateImageSetMetadataUpdates: updates,
      ...more,
    }),
  );
const updated = await update("1", {
  DICOMUpdates: {
    removableAttributes: blob({ Study: { DICOM: { AccessionNumber: "A1" } } }),
    updatableAttributes: blob({ Patient: { DICOM: { PatientName: "Süß^Ada" } } }),
  },
});
seen.update = [updated.latestVersionId, updated.imageSetState, updated.imageSetWorkflowStatus];
await unlocked(copyId);
const after = await metadata(copyId);
seen.name = after.Patient.DICOM.PatientName;
seen.accession = "AccessionNumber" in after.Study.DICOM;
try {
  await update("1", { revertToVersionId: "1" });
} catch (error) {
  seen.stale = [error instanceof sdk.ResourceNotFoundException, error.name, error.message];
}
await update("2", { revertToVersionId: "1" }, { force: true });
const reverted = await unlocked(copyId);
seen.reverted = [reverted.versionId, reverted.overrides];
seen.nameAgain = (await metadata(copyId, "3")).Patient.DICOM.PatientName;

const versions = [];
for await (const page of sdk.paginateListImageSetVersions({ client, pageSize: 2 }, { datastoreId, imageSetId: copyId })) {
  versions.push(...page.imageSetPropertiesList.map((one) => [one.versionId, one.ImageSetWorkflowStatus]));
}
seen.versions = versions;

const resourceArn = reverted.imageSetArn;
await client.send(new sdk.TagResourceCommand({ resourceArn, tags: { team: "js" } }));
seen.tags = (await client.send(new sdk.ListTagsForResourceCommand({ resourceArn }))).tags;
await client.send(new sdk.UntagResourceCommand({ resourceArn, tagKeys: ["team"] }));

for (const id of [copyId, imageSetId]) {
  await client.send(new sdk.DeleteImageSetCommand({ datastoreId, imageSetId: id }));
}
seen.deleted = await Promise.all([copyId, imageSetId].map(async (id) => (await unlocked(id)).imageSetState));
await client.send(new sdk.DeleteDatastoreCommand({ datastoreId }));
console.log(JSON.stringify(seen));
