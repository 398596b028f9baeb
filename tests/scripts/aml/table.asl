// Another: it writes to a table, which need not be one, for a table is where the host says that it is.
DefinitionBlock ("", "SSDT", 2, "HOST", "TABLE", 1)
{
    OperationRegion (TPRT, SystemIO, 0xE9, 1)
    Field (TPRT, ByteAcc, NoLock, Preserve) { TOUT, 8 }
    DataTableRegion (TTAB, "APIC", "", "")
    Field (TTAB, ByteAcc, NoLock, Preserve) { Offset (16), TBYT, 8 }
    TOUT = 0x54 // T: it runs
    TBYT = 0x74 // t
    TOUT = TBYT
}
