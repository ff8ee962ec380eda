"""The Reconciliation Service API 0.2 of the W3C community group, for OpenRefine.

It is a protocol of its own: form-encoded batches, and answers whose form it defines. So it is not
in the OpenAPI document. It shows what everybody may read, whoever asks, and pages of any origin may
ask it. https://www.w3.org/community/reports/reconciliation/CG-FINAL-specs-0.2-20230410/
"""
