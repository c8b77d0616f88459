"""Numbers and names of the messages that clients send."""

from enum import IntEnum


class Incoming(IntEnum):
    """What a client can send, as clients name it."""

    reqMktData = 1
    cancelMktData = 2
    placeOrder = 3
    cancelOrder = 4
    reqOpenOrders = 5
    reqAccountUpdates = 6
    reqExecutions = 7
    reqIds = 8
    reqContractDetails = 9
    reqMktDepth = 10
    cancelMktDepth = 11
    reqNewsBulletins = 12
    cancelNewsBulletins = 13
    setServerLogLevel = 14
    reqAutoOpenOrders = 15
    reqAllOpenOrders = 16
    reqManagedAccts = 17
    requestFA = 18
    replaceFA = 19
    reqHistoricalData = 20
    exerciseOptions = 21
    reqScannerSubscription = 22
    cancelScannerSubscription = 23
    reqScannerParameters = 24
    cancelHistoricalData = 25
    reqCurrentTime = 49
    reqRealTimeBars = 50
    cancelRealTimeBars = 51
    reqFundamentalData = 52
    cancelFundamentalData = 53
    calculateImpliedVolatility = 54
    calculateOptionPrice = 55
    cancelCalculateImpliedVolatility = 56
    cancelCalculateOptionPrice = 57
    reqGlobalCancel = 58
    reqMarketDataType = 59
    reqPositions = 61
    reqAccountSummary = 62
    cancelAccountSummary = 63
    cancelPositions = 64
    verifyRequest = 65
    verifyMessage = 66
    queryDisplayGroups = 67
    subscribeToGroupEvents = 68
    updateDisplayGroup = 69
    unsubscribeFromGroupEvents = 70
    startApi = 71
    verifyAndAuthRequest = 72
    verifyAndAuthMessage = 73
    reqPositionsMulti = 74
    cancelPositionsMulti = 75
    reqAccountUpdatesMulti = 76
    cancelAccountUpdatesMulti = 77
    reqSecDefOptParams = 78
    reqSoftDollarTiers = 79
    reqFamilyCodes = 80
    reqMatchingSymbols = 81
    reqMktDepthExchanges = 82
    reqSmartComponents = 83
    reqNewsArticle = 84
    reqNewsProviders = 85
    reqHistoricalNews = 86
    reqHeadTimeStamp = 87
    reqHistogramData = 88
    cancelHistogramData = 89
    cancelHeadTimeStamp = 90
    reqMarketRule = 91
    reqPnL = 92
    cancelPnL = 93
    reqPnLSingle = 94
    cancelPnLSingle = 95
    reqHistoricalTicks = 96
    reqTickByTickData = 97
    cancelTickByTickData = 98
    reqCompletedOrders = 99
    reqWshMetaData = 100
    cancelWshMetaData = 101
    reqWshEventData = 102
    cancelWshEventData = 103
    reqUserInfo = 104


VERSIONED = frozenset({*range(1, 20), 21, 23, 24, 25, *range(49, 78)}) - {Incoming.placeOrder}
"""Messages whose first field after the number is a version of their own."""

WITHOUT_REQUEST_ID = frozenset({*range(12, 20), 24, 65, 66, 72, 73, 80, 82, 85, 91, 99})
"""Messages that begin with something else than the number of a request."""


def name_of(kind: int) -> str:
    """What clients call the message."""
    try:
        return Incoming(kind).name
    except ValueError:
        return f"message {kind}"
